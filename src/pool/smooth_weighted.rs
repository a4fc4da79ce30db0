//! Smooth weighted round robin as a table.
