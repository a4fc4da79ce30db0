//! A member that goes on in another process.

use super::*;
use crate::gossip::core::io::Event;

fn deploy(ltime: u64) -> SerfMessage {
    SerfMessage::UserEvent(UserEvent {
        ltime,
        name: "deploy".to_owned(),
        payload: Vec::new(),
        coalesce: false,
    })
}

fn told(bench: &mut Bench) -> usize {
    let events = bench.events();
    let user = |event: &&Event| matches!(event, Event::User { .. });
    events.iter().filter(user).count()
}

#[test]
fn what_was_heard_before_is_not_heard_again_and_time_goes_on() {
    let mut old = Bench::with_peer();
    old.hear_serf(&deploy(41));
    assert_eq!(told(&mut old), 1);
    let heritage = old.node.heritage();
    assert_eq!(heritage.event_ltime, 42);

    let mut new = Bench::with_peer();
    new.node.inherit(new.now, heritage);

    new.hear_serf(&deploy(41));
    assert_eq!(told(&mut new), 0, "it is still on its way to others");
    let sent = new.node.user_event(new.now, "next", Vec::new(), false);
    assert_eq!(sent, Ok(42));
}

#[test]
fn the_others_hear_the_next_incarnation() {
    let mut old = Bench::with_peer();
    let tags = Tags::from([("rack".to_owned(), "7".to_owned())]);
    old.node.set_tags(old.now, tags).expect("short tags");
    let heritage = old.node.heritage();

    let mut new = Bench::with_peer();
    new.node.inherit(new.now, heritage);

    assert_eq!(new.node.heritage().incarnation, heritage.incarnation + 1);
    let own = |message: &Message| match message {
        Message::Alive(alive) if alive.node == "us" => Some(alive.incarnation),
        _ => None,
    };
    let newest = new.spread().iter().filter_map(own).max();
    assert_eq!(newest, Some(heritage.incarnation + 1));
}

#[test]
fn the_wait_for_its_turn_is_no_pause() {
    let mut new = Bench::new();
    let heritage = new.node.heritage();
    new.now += Duration::from_secs(20);

    new.node.inherit(new.now, heritage);
    new.node.handle_timeout(new.now);

    assert_eq!(new.node.stats().pauses, 0);
}
