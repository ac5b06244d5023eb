//! Which block is valid, what it changes, and how it is proven.
