//! `secret`: new signing secrets, and their public keys. Needs neither settings nor routes.

use std::io::{Read, Write};

use clap::Subcommand;

use crate::line::Causes;
use crate::secret::Secret as Key;

/// More than any secret has: what is longer was not meant to be one.
const MAX_INPUT: u64 = 4_096;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Print a new signing secret; what to do with it is told on standard error
    New {
        /// Make an Ed25519 key (whsk_…): receivers verify with its public key, and cannot sign
        #[arg(long)]
        ed25519: bool,
    },
    /// Read a secret made with --ed25519 from standard input, and print its public key
    Public,
}

/// What it answers: a line that can be piped, and words for a person.
struct Answer {
    output: String,
    advice: String,
}

impl Secret {
    pub(crate) fn run(&self) -> Result<(), String> {
        let answer = match self {
            Self::New { ed25519: false } => shared(),
            Self::New { ed25519: true } => key_pair(),
            Self::Public => public(std::io::stdin().lock())?,
        };
        // Advice first: on a terminal, what is to be copied is the last line.
        if !answer.advice.is_empty() {
            let _ = write!(anstream::stderr().lock(), "{}", answer.advice);
        }
        // A secret that was lost on its way must not pass for one that was made.
        let mut stdout = std::io::stdout().lock();
        let written = writeln!(stdout, "{}", answer.output).and_then(|()| stdout.flush());
        written.map_err(|error| format!("standard output cannot be written to: {error}"))
    }
}

const SIGNS: &str = "to sign with it, put it into delivery.secrets, or the variable POSTBACK_DELIVERY__SECRETS";

fn shared() -> Answer {
    let advice = format!("{SIGNS}\nwhoever verifies needs the same secret; whoever else has it can sign as you\n");
    Answer { output: Key::generate().reveal(), advice }
}

fn key_pair() -> Answer {
    let secret = Key::generate_ed25519();
    let public = secret.public_key().map(|key| key.to_string()).unwrap_or_default();
    let advice =
        format!("{SIGNS}\nwhoever has it can sign as you; whoever verifies needs this, which is public: {public}\n");
    Answer { output: secret.reveal(), advice }
}

fn public(input: impl Read) -> Result<Answer, String> {
    let mut text = String::new();
    let read = input.take(MAX_INPUT).read_to_string(&mut text);
    read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    let secret: Key = text.trim().parse().map_err(|error| format!("standard input: {}", Causes(&error)))?;
    let key = secret
        .public_key()
        .ok_or("standard input: a `whsec_` secret has no public key; receivers need the secret itself")?;
    Ok(Answer { output: key.to_string(), advice: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::PublicKey;

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
        let told = public(format!("{}\n", answer.output).as_bytes()).unwrap();
        told.output.parse::<PublicKey>().unwrap();
        assert!(answer.advice.contains(&told.output));
    }

    #[test]
    fn what_has_no_public_key_is_refused_with_why() {
        let said = |text: &str| public(text.as_bytes()).err().unwrap();
        assert!(said(&shared().output).contains("has no public key"));
        assert!(said("").starts_with("standard input: a signing secret starts with `whsec_`"));
        assert!(said(&"x".repeat(10_000)).starts_with("standard input: a signing secret"));
    }
}
