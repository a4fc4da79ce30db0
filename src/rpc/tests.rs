//! The server against captured sessions, and against clients of every kind.

mod captured;
mod clients;
mod member;
