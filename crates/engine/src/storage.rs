//! Where the engine keeps blocks and certificates, and how large its files and buffers are.
//!
//! Sized for an idle node: tables start small and grow with the chain, buffers fit one validator's traffic.
//! The names and `ITEMS_PER_SECTION` are part of the format on disk and must not change.

use std::{
    num::{NonZeroU16, NonZeroU64, NonZeroUsize},
    sync::Arc,
};

use commonware_codec::CodecShared;
use commonware_consensus::simplex::{scheme::ed25519::Scheme, types::Finalization};
use commonware_cryptography::{Digestible as _, sha256::Digest};
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::archive::{Archive as _, Identifier, immutable};
use commonware_utils::{NZU16, NZU64, NZUsize};

use crate::{
    block::Block,
    config::{MAX_VALIDATORS, Setup},
    error::EngineError,
    parts::Platform,
};

/// Certificates by height.
pub(crate) type Certificates<E> = immutable::Archive<E, Digest, Finalization<Scheme, Digest>>;

/// Finalized blocks by height and digest.
pub(crate) type Blocks<E> = immutable::Archive<E, Digest, Arc<Block>>;

/// The opened archives.
pub(crate) struct Stores<E: Platform> {
    pub(crate) certificates: Certificates<E>,
    pub(crate) blocks: Blocks<E>,
    pub(crate) pages: CacheRef,
}

/// Opens or creates the archives; refuses those of a chain with another genesis.
pub(crate) async fn open<E: Platform>(runtime: &E, setup: &Setup, genesis: &Block) -> Result<Stores<E>, EngineError> {
    let pages = CacheRef::new(PAGE_BYTES, PAGES);
    let certificates = open_archive(
        runtime.child("certificates"),
        &setup.partition("certificates"),
        &pages,
        // Certificates of all epochs are here, whatever the number of their validators.
        MAX_VALIDATORS,
    )
    .await?;
    let blocks: Blocks<E> =
        open_archive(runtime.child("blocks"), &setup.partition("blocks"), &pages, setup.limits).await?;
    match blocks.get(Identifier::Index(0)).await? {
        Some(stored) if stored.digest() != genesis.digest() => Err(EngineError::Genesis),
        _ => Ok(Stores { certificates, blocks, pages }),
    }
}

async fn open_archive<E: Platform, V: CodecShared>(
    runtime: E,
    name: &str,
    pages: &CacheRef,
    codec_config: V::Cfg,
) -> Result<immutable::Archive<E, Digest, V>, EngineError> {
    let config = immutable::Config {
        metadata_partition: format!("{name}-metadata"),
        freezer_table_partition: format!("{name}-table"),
        freezer_table_initial_size: 1 << 12,
        freezer_table_resize_frequency: 4,
        freezer_table_resize_chunk_size: 1 << 12,
        freezer_key_partition: format!("{name}-keys"),
        freezer_key_page_cache: pages.clone(),
        freezer_key_write_buffer: WRITE_BUFFER,
        freezer_value_partition: format!("{name}-values"),
        freezer_value_write_buffer: WRITE_BUFFER,
        freezer_value_target_size: 1 << 30,
        freezer_value_compression: COMPRESSION,
        ordinal_partition: format!("{name}-heights"),
        ordinal_write_buffer: WRITE_BUFFER,
        items_per_section: ITEMS_PER_SECTION,
        codec_config,
        replay_buffer: REPLAY_BUFFER,
    };
    Ok(immutable::Archive::init(runtime, config).await?)
}

/// Level of zstd. Hashes do not compress; what stands between them in a block does. Part of the format: it must not be
/// dropped while stored blocks remain.
const COMPRESSION: Option<u8> = Some(3);
const PAGE_BYTES: NonZeroU16 = NZU16!(4_084);
/// 8 MiB of cached pages.
const PAGES: NonZeroUsize = NZUsize!(2_048);
/// Bitmaps of open sections are rewritten with every commit: 16,384 heights are 2 KiB.
const ITEMS_PER_SECTION: NonZeroU64 = NZU64!(16_384);
/// Of each file that is being written.
pub(crate) const WRITE_BUFFER: NonZeroUsize = NZUsize!(64 << 10);
/// Used only at start.
pub(crate) const REPLAY_BUFFER: NonZeroUsize = NZUsize!(1 << 20);
