//! Reads a request's body: bounded in bytes after decompression, in time, and in what all bodies hold together. A
//! gzip bomb is cut off at the bound, never unpacked whole.

use std::{io::Write, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use crate::{admission::BodyRoom, refusal::Refusal};

/// A body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    pub room: BodyRoom,
}

pub async fn read(
    headers: &HeaderMap,
    body: Body,
    room: BodyRoom,
    bytes_max: usize,
    within: Duration,
) -> Result<Received, Refusal> {
    let mut body = body;
    let received = read_within(headers, &mut body, room, bytes_max, within).await;
    if received.is_err() && !waits_to_be_asked(headers) {
        discard(body).await;
    }
    received
}

async fn read_within(
    headers: &HeaderMap,
    body: &mut Body,
    room: BodyRoom,
    bytes_max: usize,
    within: Duration,
) -> Result<Received, Refusal> {
    let gzip = is_gzip(headers)?;
    // Compressed or not, a body that says it is too large is not looked at at all.
    if content_length(headers).is_some_and(|length| length > bytes_max as u64) {
        return Err(Refusal::BodyTooLarge { max: bytes_max });
    }
    let reading = read_frames(body, Unpacked::new(gzip, room, bytes_max));
    tokio::time::timeout(within, reading).await.map_err(|_| Refusal::BodyTooSlow)?
}

/// How much of a refused body is still taken off the connection, and for how long.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARDED_WITHIN: Duration = Duration::from_secs(2);

/// Lets a client whose body was refused finish sending, within bounds: a connection that is closed while it still writes is a
/// broken pipe to it, and it never reads why it was refused. Nothing of it is kept.
async fn discard(mut body: Body) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARDED_BYTES_MAX {
                return;
            }
        }
    };
    // A client that is slower than this has to read its answer from a closing connection.
    tokio::time::timeout(DISCARDED_WITHIN, reading).await.ok();
}

/// `Expect: 100-continue`: the client sends its body only when it is asked to, and reads a refusal instead.
fn waits_to_be_asked(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

async fn read_frames(body: &mut Body, mut unpacked: Unpacked) -> Result<Received, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::BodyUnreadable)?;
        // Trailers mean nothing here.
        if let Ok(bytes) = frame.into_data() {
            unpacked.push(&bytes)?;
        }
    }
    unpacked.finish()
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refusal> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(false) };
    match value.to_str().map(|v| v.trim().to_ascii_lowercase()).as_deref() {
        Ok("gzip" | "x-gzip") => Ok(true),
        Ok("identity" | "") => Ok(false),
        Ok(other) => Err(Refusal::UnsupportedEncoding(other.chars().take(64).collect())),
        Err(_) => Err(Refusal::UnsupportedEncoding("(unreadable)".to_owned())),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The bytes so far. Compressed input is fed in small pieces, so that no single one can unpack to much more than
/// the bound before the bound is looked at.
enum Unpacked {
    Plain(Sink),
    Gzip(Box<GzDecoder<Sink>>),
}

/// Deflate unpacks at most about 1,032 to one: a piece becomes at most half a MiB.
const GZIP_PIECE_BYTES: usize = 512;

impl Unpacked {
    fn new(gzip: bool, room: BodyRoom, bytes_max: usize) -> Unpacked {
        let sink = Sink { bytes: Vec::new(), room, bytes_max, refused: None };
        if gzip { Unpacked::Gzip(Box::new(GzDecoder::new(sink))) } else { Unpacked::Plain(sink) }
    }

    fn push(&mut self, input: &[u8]) -> Result<(), Refusal> {
        match self {
            Unpacked::Plain(sink) => sink.take(input),
            Unpacked::Gzip(decoder) => {
                for piece in input.chunks(GZIP_PIECE_BYTES) {
                    let fed = decoder.write_all(piece);
                    if let Some(refusal) = decoder.get_mut().refused.take() {
                        return Err(refusal);
                    }
                    fed.map_err(|_| Refusal::BadGzip)?;
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Received, Refusal> {
        let sink = match self {
            Unpacked::Plain(sink) => sink,
            Unpacked::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                if let Some(refusal) = decoder.get_mut().refused.take() {
                    return Err(refusal);
                }
                finished.map_err(|_| Refusal::BadGzip)?;
                decoder.finish().map_err(|_| Refusal::BadGzip)?
            }
        };
        Ok(Received { bytes: sink.bytes.into(), room: sink.room })
    }
}

/// Where bytes end up, up to the bound.
struct Sink {
    bytes: Vec<u8>,
    room: BodyRoom,
    bytes_max: usize,
    /// Why it took no more: an io::Error cannot carry it through the decoder.
    refused: Option<Refusal>,
}

impl Sink {
    fn take(&mut self, input: &[u8]) -> Result<(), Refusal> {
        let length = self.bytes.len() + input.len();
        if length > self.bytes_max {
            return Err(Refusal::BodyTooLarge { max: self.bytes_max });
        }
        self.room.reach(length)?;
        self.bytes.extend_from_slice(input);
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, input: &[u8]) -> std::io::Result<usize> {
        match self.take(input) {
            Ok(()) => Ok(input.len()),
            Err(refusal) => {
                self.refused = Some(refusal);
                Err(std::io::Error::other("the bound is reached"))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::{admission::Admission, config::Limits};

    const MAX: usize = 4 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read_as(encoding: Option<&str>, body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        let room = Admission::new(&Limits::default()).body();
        let received = read(&headers, Body::from(body), room, MAX, Duration::from_secs(5)).await?;
        Ok(received.bytes.to_vec())
    }

    #[tokio::test]
    async fn a_body_arrives_as_it_was_sent_packed_or_not() {
        assert_eq!(read_as(None, b"{\"a\":7}".to_vec()).await.unwrap(), b"{\"a\":7}");
        assert_eq!(read_as(Some("gzip"), gzip(b"{\"a\":7}")).await.unwrap(), b"{\"a\":7}");
        let random: Vec<u8> = (0u32..300_000).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(read_as(Some("GZIP"), gzip(&random)).await.unwrap(), random);
    }

    #[tokio::test]
    async fn a_gzip_bomb_is_cut_off_at_the_bound() {
        let bomb = gzip(&vec![b' '; 200 << 20]);
        assert!(bomb.len() < 300 << 10, "the bomb itself is small: {}", bomb.len());
        assert_eq!(read_as(Some("gzip"), bomb).await, Err(Refusal::BodyTooLarge { max: MAX }));
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_bound_passes_and_one_byte_more_does_not() {
        assert_eq!(read_as(Some("gzip"), gzip(&vec![7; MAX])).await.map(|b| b.len()), Ok(MAX));
        assert_eq!(read_as(None, vec![7; MAX]).await.map(|b| b.len()), Ok(MAX));
        assert_eq!(read_as(None, vec![7; MAX + 1]).await, Err(Refusal::BodyTooLarge { max: MAX }));
        assert_eq!(
            read_as(Some("gzip"), gzip(&vec![7; MAX + 1])).await,
            Err(Refusal::BodyTooLarge { max: MAX })
        );
    }

    #[tokio::test]
    async fn a_client_may_finish_sending_what_is_refused_unless_it_waits_to_be_asked() {
        for (expect, taken_of_ten) in [(None, 10), (Some("100-continue"), 0)] {
            let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let counter = taken.clone();
            let pieces = (0..10).map(move |_| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1 << 20]))
            });
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, (10 << 20).into());
            if let Some(expect) = expect {
                headers.insert(header::EXPECT, expect.parse().unwrap());
            }
            let room = Admission::new(&Limits::default()).body();
            let body = Body::from_stream(futures::stream::iter(pieces));
            let answer = read(&headers, body, room, MAX, Duration::from_secs(5)).await;
            assert_eq!(answer.unwrap_err(), Refusal::BodyTooLarge { max: MAX });
            assert_eq!(taken.load(std::sync::atomic::Ordering::Relaxed), taken_of_ten, "{expect:?}");
        }
    }

    #[tokio::test]
    async fn broken_or_unknown_encodings_are_named() {
        let whole = gzip(&[7; 5000]);
        assert_eq!(read_as(Some("gzip"), whole[..whole.len() - 9].to_vec()).await, Err(Refusal::BadGzip));
        assert_eq!(read_as(Some("gzip"), b"{}".to_vec()).await, Err(Refusal::BadGzip));
        assert_eq!(read_as(Some("br"), vec![]).await, Err(Refusal::UnsupportedEncoding("br".to_owned())));
        let nested = gzip(&gzip(b"{}"));
        assert_ne!(read_as(Some("gzip"), nested).await.unwrap(), b"{}", "only one layer is taken off");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let room = Admission::new(&Limits::default()).body();
        let answer = read(&HeaderMap::new(), never, room, MAX, Duration::from_millis(50)).await;
        assert_eq!(answer.unwrap_err(), Refusal::BodyTooSlow);
    }
}
