//! SWIM with Lifeguard, as memberlist speaks it.
