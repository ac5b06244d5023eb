// The hash of a JPEG's picture data, which survives when metadata is stripped. PROTOCOL.md section 7, kind 1:
// SHA-256 of the file from SOI to EOI (ITU-T T.81) without fill bytes and without the segments APP0 to APP13,
// APP15 and COM. APP14 stays: it says how the colours are coded.

import { concat, sha256 } from "./bytes.mjs";

const [SOI, EOI, SOS, COM] = [0xd8, 0xd9, 0xda, 0xfe];
const isRestart = (byte) => byte >= 0xd0 && byte <= 0xd7;
const isLeftOut = (marker) => marker === COM || (marker >= 0xe0 && marker <= 0xef && marker !== 0xee);

/** The 32 bytes, or null if this is no complete JPEG. */
export async function imageDataHash(file) {
  const parts = pictureData(file);
  return parts && sha256(concat(...parts));
}

function pictureData(file) {
  if (file[0] !== 0xff || file[1] !== SOI) return null;
  const parts = [file.subarray(0, 2)];
  for (let at = 2; ; ) {
    const start = at;
    while (file[at] === 0xff) at += 1;
    if (at === start || at >= file.length) return null;
    const marker = file[at++];
    if (marker === EOI) return [...parts, Uint8Array.of(0xff, EOI)];
    // Markers that have no length have no place between segments.
    if (marker <= 0x01 || isRestart(marker) || marker === SOI) return null;
    if (at + 2 > file.length) return null;
    const end = at + (file[at] << 8) + file[at + 1];
    if (end < at + 2 || end > file.length) return null;
    if (!isLeftOut(marker)) parts.push(Uint8Array.of(0xff, marker), file.subarray(at, end));
    at = end;
    if (marker === SOS) {
      while (!(file[at] === 0xff && file[at + 1] !== 0 && !isRestart(file[at + 1]))) {
        if (++at >= file.length - 1) return null;
      }
      parts.push(file.subarray(end, at));
    }
  }
}
