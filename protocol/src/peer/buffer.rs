//! Where bytes of a peer link wait until they are whole frames.

use bytes::BytesMut;

use super::frame::Frame;
use super::wire::FrameError;

/// Longest frame in bytes before the peer is known: a hello or a welcome fits.
const GREETING_BYTES: usize = 1024;

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: BytesMut,
    max_frame_bytes: usize,
    greeted: bool,
}

impl FrameBuffer {
    /// An empty buffer for one connection. Until the first frame is out, frames may have 1,024 bytes only.
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { bytes: BytesMut::new(), max_frame_bytes, greeted: false }
    }

    /// Where received bytes are appended. A caller that reads no more than it has to keeps it small.
    pub const fn space(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Takes the next whole frame; `None` if there are not enough bytes yet.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be read any further.
    pub fn take(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.bytes.get(..4) else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(head.try_into().map_err(|_| FrameError::Short)?);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let limit_bytes = if self.greeted {
            self.max_frame_bytes
        } else {
            GREETING_BYTES.min(self.max_frame_bytes)
        };
        // Checked before anything is kept for the frame, so a lying length costs nothing.
        if len > limit_bytes {
            return Err(FrameError::TooLong { bytes: len, limit_bytes });
        }
        if self.bytes.len() < 4 + len {
            return Ok(None);
        }
        let whole = self.bytes.split_to(4 + len).freeze();
        let frame = Frame::decode(&whole.slice(4..))?;
        self.greeted = true;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let mut wire = Vec::new();
        Frame::Ping.encode(&mut wire);
        Frame::ForwardAck { seq: 9 }.encode(&mut wire);
        let mut buffer = FrameBuffer::new(1 << 20);
        let mut seen = Vec::new();
        for byte in wire {
            buffer.space().extend_from_slice(&[byte]);
            while let Some(frame) = buffer.take().unwrap() {
                seen.push(frame);
            }
        }
        assert_eq!(seen, [Frame::Ping, Frame::ForwardAck { seq: 9 }]);
    }

    #[test]
    fn a_lying_length_is_refused_at_once() {
        let mut buffer = FrameBuffer::new(1 << 20);
        buffer.space().extend_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
        assert!(matches!(buffer.take(), Err(FrameError::TooLong { limit_bytes: 1024, .. })));
        let mut buffer = FrameBuffer::new(1 << 20);
        buffer.space().extend_from_slice(&[0, 0, 0, 0]);
        assert_eq!(buffer.take(), Err(FrameError::Empty));
        let mut buffer = FrameBuffer::new(1 << 20);
        Frame::Ping.encode(&mut Vec::new());
        buffer.space().extend_from_slice(&[0, 0, 0, 1, 15, 0, 0x20, 0, 0]);
        assert_eq!(buffer.take(), Ok(Some(Frame::Ping)));
        assert!(matches!(buffer.take(), Err(FrameError::TooLong { limit_bytes: 1_048_576, .. })));
    }
}
