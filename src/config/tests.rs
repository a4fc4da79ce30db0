//! Facts about reading settings.
