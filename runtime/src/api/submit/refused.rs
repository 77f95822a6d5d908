//! The error answers to a body that is not read.

use super::super::body_memory::{self, Refused};
use super::super::inflate::MAX_RATIO;
use super::super::problem::{Code, Problem};

pub(super) fn problem(refused: Refused, limit: usize) -> Problem {
    let bad = |detail: String| Problem::new(Code::MalformedRequest, detail);
    match refused {
        Refused::TooLarge => Problem::too_large(limit),
        Refused::TooLargeForService => {
            Problem::new(Code::PayloadTooLarge, "the body is larger than this service allows; nothing was accepted")
        }
        Refused::CutOff => bad("the body ended before all of it came; nothing was accepted".to_owned()),
        Refused::Chunks(why) => bad(format!("the chunks of the body are not well-formed: {why}; nothing was accepted")),
        Refused::Coded(coding) => Problem::new(
            Code::MalformedContentEncoding,
            format!(
                "the body is not {coding}, as its header content-encoding says, or is cut off, or has a window larger than \
             8 MiB; nothing was accepted",
                coding = coding.as_str()
            ),
        ),
        Refused::Ratio => Problem::new(
            Code::PayloadTooLarge,
            format!("the body inflates to more than {MAX_RATIO} times its size; send it less compressed, or as it is"),
        ),
        Refused::TooSlow => Problem::new(Code::BodyTooSlow, body_memory::too_slow()),
        Refused::GaveWay => Problem::new(
            Code::Overloaded,
            "the body came slowly while others waited for memory, and was cut off; nothing was accepted, try again",
        ),
        Refused::NoMemory => {
            Problem::new(Code::Overloaded, "too many large bodies are being read; nothing was accepted, try again")
        }
    }
}
