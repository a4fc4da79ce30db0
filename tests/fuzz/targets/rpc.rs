//! Requests of RPC clients, back to back.

#![no_main]

use lb::gossip::core::wire::WireError;
use lb::rpc::requests;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (count, length, behind) = requests(data);
    assert!(length <= data.len());
    // What is whole is so without what follows, and then only more bytes are wanted.
    assert_eq!(
        requests(&data[..length]),
        (count, length, WireError::Truncated)
    );
    // What could not become a request is refused whatever follows; a shorter beginning has no more requests.
    let half = data.len() / 2;
    let (before, taken, early) = requests(&data[..half]);
    assert!(before <= count && taken <= length);
    if early != WireError::Truncated {
        assert_eq!((before, taken, early), (count, length, behind));
    }
});
