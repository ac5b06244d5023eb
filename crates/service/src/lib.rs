//! Plumbing for servers and clients, without domain words.
