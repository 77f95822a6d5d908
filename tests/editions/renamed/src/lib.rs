//! Tests the attribute in a package that depends on `postback` under the name `reporter`.

#![deny(warnings, missing_docs)]
#![forbid(unsafe_code)]

/// Re-exports the crate, as a library might do for its users.
pub mod again {
    pub use ::reporter;
}

/// A handler that names the crate by its new name.
#[reporter::async_handler(webhook = url, crate = ::reporter)]
pub async fn renamed(url: &str, request_id: u8) -> Result<u8, ()> {
    Ok(request_id)
}

/// A handler that names the crate by a path in a string, as in the attributes of serde.
#[reporter::async_handler(webhook = url, crate = "crate::again::reporter")]
pub async fn passed_on(url: &str, request_id: u8) -> Result<u8, ()> {
    Ok(request_id)
}

/// Makes a handler in the caller's crate. That crate need not depend on `postback`.
#[macro_export]
macro_rules! handler {
    ($name:ident) => {
        /// A handler that a macro makes.
        #[$crate::again::reporter::async_handler(webhook = url, crate = $crate::again::reporter)]
        pub async fn $name(url: &str, request_id: u8) -> Result<u8, ()> {
            Ok(request_id)
        }
    };
}

handler!(from_a_macro);

#[cfg(test)]
mod tests {
    use postback_tests::Receiver;

    #[tokio::test]
    async fn a_renamed_runtime_is_spoken_to() {
        let receiver = Receiver::start();
        let _guard = reporter::Poster::builder().trust(receiver.url("/")).install().unwrap();
        let url = receiver.url("/hooks");
        assert_eq!(super::renamed(&url, 1).await, Ok(1));
        assert_eq!(super::passed_on(&url, 2).await, Ok(2));
        assert_eq!(super::from_a_macro(&url, 3).await, Ok(3));
        for id in 1..=3 {
            assert_eq!(receiver.wait_for(&id.to_string()).json()["result"], id);
        }
    }
}
