//! Adapter of the consensus engine: orders opaque payloads.
