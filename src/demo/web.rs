//! The toy web server: says who answers, whatever is asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers `hello from NAME (pid …)` to every request on `listen`, until it is killed.
pub fn run_web(name: String, listen: SocketAddr) -> ExitCode {
    let served = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(serve(&name, listen)));
    match served {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("lb demo: {name} on {listen}: {error}");
            ExitCode::from(1)
        }
    }
}

async fn serve(name: &str, listen: SocketAddr) -> std::io::Result<Infallible> {
    let listener = TcpListener::bind(listen).await?;
    let text = Bytes::from(format!("hello from {name} (pid {})\n", std::process::id()));
    loop {
        let (stream, _) = listener.accept().await?;
        let text = text.clone();
        let service = service_fn(move |request| answer(request, text.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    mut request: Request<Incoming>,
    text: Bytes,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    while let Some(frame) = request.frame().await {
        frame?;
    }
    let mut response = Response::new(Full::new(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
