//! Helpers that the tests share: a receiver of webhooks, child processes, and waiting for conditions.

pub mod breaking;
pub mod need;
mod process;
pub mod python;
mod receiver;
mod shim;
mod wait;

pub use process::{Process, example};
pub use receiver::{Answer, Received, Receiver};
pub use shim::{Operation, Shim};
pub use wait::{eventually, eventually_async};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// An HTTP client that uses no proxy.
pub fn client() -> reqwest::Client {
    // The client needs a crypto provider, even if it never uses TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// The Standard Webhooks signature. It is computed without the library, so that the library is not checked against
/// itself.
pub fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a symmetric secret")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
