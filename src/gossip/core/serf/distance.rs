//! How far members are, by the acks of our pings.

use std::time::Duration;

use super::coordinate::{Coordinate, Measured, RTT_MAX, parse};
use super::layer::Layer;

impl Layer {
    /// A node answered a ping of ours.
    pub(super) fn measured(&mut self, node: &str, payload: &[u8], rtt: Duration) {
        if payload.is_empty() {
            return;
        }
        let coordinate = match parse(payload) {
            Ok(coordinate) if coordinate.is_valid() && rtt <= RTT_MAX => coordinate,
            _ => return self.refuse("coordinate"),
        };
        let Some(member) = self.members.get_mut(node) else {
            return;
        };
        let measured = member
            .measured
            .get_or_insert_with(|| Box::new(Measured::new()));
        let rtt = measured.filter(rtt.as_secs_f64());
        measured.set(&coordinate);
        self.vivaldi.update(&coordinate, rtt);
    }

    pub(super) fn coordinate(&self, node: &str) -> Option<Coordinate> {
        if node == self.name {
            return Some(self.vivaldi.own().clone());
        }
        let measured = self.members.get(node)?.measured.as_ref()?;
        Some(measured.coordinate())
    }
}
