//! The forms that the body of a report can have, by name.

use std::fmt;
use std::str::FromStr;

/// The form of the reports to a webhook: which members the body has, and which words.
///
/// Each form is one that receivers of another service already read. The headers `webhook-id`, `webhook-timestamp` and
/// `webhook-signature` are the same in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `{"id","status","result","timestamp"}`, as the webhooks of Cortex 0.34. The default.
    #[default]
    Cortex,
    /// `{"type","timestamp","data"}`, as the Standard Webhooks specification 1.0.0 recommends.
    Standard,
    /// A CloudEvent 1.0 in structured mode, with the content type `application/cloudevents+json`.
    CloudEvents,
    /// A prediction, as the webhooks of Replicate and of Cog.
    Replicate,
    /// A job, as the webhooks of RunPod.
    RunPod,
    /// A result, as the webhooks of fal. If an Ed25519 key signs the report, it has the headers `x-fal-webhook-…`, too.
    Fal,
}

impl Format {
    /// All forms.
    pub const ALL: [Self; 6] =
        [Self::Cortex, Self::Standard, Self::CloudEvents, Self::Replicate, Self::RunPod, Self::Fal];

    /// Returns the name of the form, as the settings have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cortex => "cortex",
            Self::Standard => "standard",
            Self::CloudEvents => "cloudevents",
            Self::Replicate => "replicate",
            Self::RunPod => "runpod",
            Self::Fal => "fal",
        }
    }

    /// Returns the value of the header `content-type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents => "application/cloudevents+json",
            _ => "application/json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a name that is not the name of a [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this form is unknown; use cortex, standard, cloudevents, replicate, runpod or fal")]
pub struct UnknownFormat(());

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == name).ok_or(UnknownFormat(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_known_by_their_names() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        let error = "Cortex".parse::<Format>().unwrap_err().to_string();
        assert!(Format::ALL.iter().all(|format| error.contains(format.as_str())), "{error}");
    }
}
