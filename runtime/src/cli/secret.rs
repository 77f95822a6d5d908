//! The command `secret`: makes signing secrets, and prints their public keys. It needs neither settings nor routes.

use std::io::{Read, Write};

use clap::Subcommand;

use postback_wire::line::Causes;
use postback_wire::secret::{PublicKey, Secret as Key};

/// The largest number of bytes that are read from standard input. Every secret is shorter.
const MAX_INPUT: u64 = 4_096;

/// The subcommands of `secret`.
#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Print a new signing secret; standard error says what to do with it
    New {
        /// Make an Ed25519 key (whsk_…); receivers verify with its public key, and cannot sign with it
        #[arg(long)]
        ed25519: bool,
    },
    /// Read a secret made with --ed25519 from standard input, and print its public key
    Public {
        /// Read several secrets, one a line, and print their public keys as a JWKS (RFC 7517), to host it elsewhere
        #[arg(long)]
        jwks: bool,
    },
}

/// The texts that a command prints: one line for standard output, which a script can read, and advice for a person on
/// standard error.
struct Answer {
    output: String,
    advice: String,
}

impl Secret {
    /// Returns the line for standard output. The advice is printed already.
    pub(crate) fn run(&self) -> Result<String, String> {
        let answer = match self {
            Self::New { ed25519: false } => shared(),
            Self::New { ed25519: true } => key_pair(),
            Self::Public { jwks } => public(std::io::stdin().lock(), *jwks)?,
        };
        // The advice is printed before the secret. So on a terminal, the secret is the last line and easy to copy.
        if !answer.advice.is_empty() {
            let _ = write!(anstream::stderr().lock(), "{}", answer.advice);
        }
        Ok(format!("{}\n", answer.output))
    }
}

const SIGNS: &str =
    "to sign with this secret, put it into delivery.secrets, or the variable POSTBACK_DELIVERY__SECRETS";

fn shared() -> Answer {
    let advice = format!("{SIGNS}\nreceivers need the same secret to verify; everyone who has it can sign as you\n");
    Answer { output: Key::generate().reveal(), advice }
}

fn key_pair() -> Answer {
    let secret = Key::generate_ed25519();
    let public = secret.public_key().map(|key| key.to_string()).unwrap_or_default();
    let advice =
        format!("{SIGNS}\neveryone who has it can sign as you; receivers need the public key to verify: {public}\n");
    Answer { output: secret.reveal(), advice }
}

fn public(input: impl Read, jwks: bool) -> Result<Answer, String> {
    let mut text = String::new();
    let read = input.take(MAX_INPUT).read_to_string(&mut text);
    read.map_err(|error| format!("cannot read standard input: {error}"))?;
    let output = if jwks {
        // At the bound, the last line may be half a secret.
        if text.len() as u64 == MAX_INPUT {
            return Err(format!("standard input: more than {MAX_INPUT} bytes; no server has so many secrets"));
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(public_key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("standard input: no secret; give one `whsk_` secret a line".to_owned());
        }
        PublicKey::jwks(&keys)
    } else {
        public_key(text.trim())?.to_string()
    };
    Ok(Answer { output, advice: String::new() })
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let secret: Key = text.parse().map_err(|error| format!("standard input: {}", Causes(&error)))?;
    let none = "standard input: a `whsec_` secret has no public key; receivers need the secret itself";
    secret.public_key().ok_or_else(|| none.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_told_without_being_repeated_in_the_advice() {
        for answer in [shared(), key_pair()] {
            answer.output.parse::<Key>().unwrap();
            assert!(!answer.advice.contains(&answer.output) && answer.advice.contains("delivery.secrets"));
        }
    }

    #[test]
    fn the_public_key_that_is_advised_is_the_one_that_is_told_later() {
        let answer = key_pair();
        let answer_later = public(format!("{}\n", answer.output).as_bytes(), false).unwrap();
        answer_later.output.parse::<PublicKey>().unwrap();
        assert!(answer.advice.contains(&answer_later.output));
    }

    #[test]
    fn what_has_no_public_key_is_refused_with_why() {
        let message = |text: &str| public(text.as_bytes(), false).err().unwrap();
        assert!(message(&shared().output).contains("has no public key"));
        assert!(message("").starts_with("standard input: a signing secret starts with `whsec_`"));
        assert!(message(&"x".repeat(10_000)).starts_with("standard input: a signing secret"));
    }

    #[test]
    fn the_keys_of_several_secrets_are_one_document() {
        let (one, two) = (key_pair().output, key_pair().output);
        let output = public(format!("{one}\n\n  {two}").as_bytes(), true).unwrap().output;
        let keys: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
        let message = |text: &str| public(text.as_bytes(), true).err().unwrap();
        assert!(message("").contains("no secret"));
        assert!(message(&shared().output).contains("has no public key"));
        assert!(message(&format!("{one}\n").repeat(100)).contains("more than 4096 bytes"));
    }
}
