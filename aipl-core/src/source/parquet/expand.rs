//! How far a compressed page goes beyond what its header says. Some codecs decompress to the end of their input,
//! whatever was announced; a page that could grow too large is decompressed once to be measured, and thrown away.

use std::io::Read;

use parquet::basic::Compression;

/// Bytes that a page may grow to without being measured.
const UNMEASURED: u64 = 256 << 20;

/// The greatest ratio that a codec reaches, if it goes on behind the announced end at all. Brotli knows no bound.
fn greatest_ratio(codec: Compression) -> Option<u64> {
    match codec {
        Compression::GZIP(_) => Some(1032),
        Compression::LZ4 => Some(255),
        Compression::BROTLI(_) => Some(u64::MAX),
        _ => None,
    }
}

/// Whether so many compressed bytes could grow too large, so that they have to be measured.
pub(crate) fn may_exceed(codec: Compression, compressed: u64) -> bool {
    greatest_ratio(codec).is_some_and(|ratio| compressed.saturating_mul(ratio) > UNMEASURED)
}

/// Whether decompressing gives more than the announced bytes. Input that cannot be decompressed is left to the decoder
/// to refuse.
pub(crate) fn exceeds(codec: Compression, compressed: &[u8], announced: u64) -> bool {
    if !may_exceed(codec, compressed.len() as u64) {
        return false;
    }
    let reader: Box<dyn Read + '_> = match codec {
        Compression::GZIP(_) => Box::new(flate2::read::MultiGzDecoder::new(compressed)),
        Compression::LZ4 => Box::new(lz4_flex::frame::FrameDecoder::new(compressed)),
        _ => Box::new(brotli_decompressor::Decompressor::new(compressed, 1 << 16)),
    };
    std::io::copy(&mut reader.take(announced.saturating_add(1)), &mut std::io::sink()).is_ok_and(|found| found > announced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pages_that_grow_beyond_their_word_are_found() {
        let zeros = vec![0u8; 64 << 20];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for _ in 0..8 {
            encoder.write_all(&zeros).expect("compresses");
        }
        let page = encoder.finish().expect("ends");
        let codec = Compression::GZIP(parquet::basic::GzipLevel::default());
        assert!(exceeds(codec, &page, 1000));
        assert!(!exceeds(codec, &page, 512 << 20));
        assert!(!exceeds(codec, b"no gzip at all", 0));
        assert!(!exceeds(Compression::SNAPPY, &page, 0));
    }
}
