//! A Serf message and tags: the msgpack of the layer above, both ways.

#![no_main]

use lb::gossip::core::serf::tags;
use lb::gossip::core::wire::serf::SerfMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = SerfMessage::decode(data) {
        assert_eq!(
            SerfMessage::decode(&message.encode()).as_ref(),
            Ok(&message)
        );
    }
    let read = tags::decode(data);
    assert_eq!(tags::decode(&tags::encode(&read)), read);
});
