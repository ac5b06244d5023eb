//! Takes submissions durably and sees them registered.
