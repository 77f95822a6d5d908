//! Public keys as JSON Web Keys, as RFC 7517 and RFC 8037 define them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::PublicKey;

impl PublicKey {
    /// Returns the keys as the text of a JWKS (JSON Web Key Set, RFC 7517), from which a receiver can read them.
    ///
    /// A workload server serves the keys of its settings as `/.well-known/jwks.json`. This function is for a sender
    /// that has no server, or whose keys are hosted elsewhere. The `kid` of a key is its thumbprint by RFC 7638, so the
    /// same key has the same `kid` everywhere.
    ///
    /// ```
    /// use postback::{PublicKey, Secret};
    ///
    /// let keys: Vec<PublicKey> = Secret::generate_ed25519().public_key().into_iter().collect();
    /// assert!(PublicKey::jwks(&keys).starts_with(r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":""#));
    /// ```
    pub fn jwks(keys: &[Self]) -> String {
        let keys: Vec<_> = keys.iter().map(Self::jwk).collect();
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }

    /// Returns the key as a JSON object. Base64 has no character that JSON would have to escape.
    fn jwk(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.bytes());
        // RFC 7638 hashes exactly this text: the required members in the order of their names, without spaces.
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)));
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"sig","kid":"{kid}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_the_example_of_rfc_8037() {
        // The key of its appendix A.2, and the thumbprint of A.3.
        let key: PublicKey = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".parse().unwrap();
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"sig","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}"#;
        assert_eq!(PublicKey::jwks(&[key]), format!("{{\"keys\":[{jwk}]}}"));
        assert_eq!(PublicKey::jwks(&[key, key]), format!("{{\"keys\":[{jwk},{jwk}]}}"));
        assert_eq!(PublicKey::jwks(&[]), r#"{"keys":[]}"#);
    }
}
