//! Object stores: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! Credentials come from the environment variables that the tools of each of them use. The client is reqwest, with the
//! TLS of the deliveries.

use std::sync::Arc;

use object_store::ObjectStore;
use url::Url;

use super::place::Sign;

type Opened = (Arc<dyn ObjectStore>, Sign);

/// Makes the client of an object store. The error is `None` if the scheme is unknown; else it says what is wanted.
pub(super) fn open(url: &Url) -> Result<Opened, Option<String>> {
    let feature = match url.scheme() {
        "s3" | "s3a" => "s3",
        "gs" => "gcs",
        "az" | "azure" | "abfs" | "abfss" => "azure",
        _ => return Err(None),
    };
    #[cfg(feature = "s3")]
    if feature == "s3" {
        let builder = object_store::aws::AmazonS3Builder::from_env().with_url(url.as_str());
        return client::opened(builder.with_http_connector(client::Connector).build());
    }
    #[cfg(feature = "gcs")]
    if feature == "gcs" {
        let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_url(url.as_str());
        return client::opened(builder.with_http_connector(client::Connector).build());
    }
    #[cfg(feature = "azure")]
    if feature == "azure" {
        let builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_url(url.as_str());
        return client::opened(builder.with_http_connector(client::Connector).build());
    }
    let why = format!("another place; this one needs the feature `{feature}` of postback, which this program lacks");
    Err(Some(why))
}

#[cfg(feature = "cloud")]
mod client {
    //! The HTTP client of all of them.

    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use http::Method;
    use object_store::client::{ClientConfigKey, ClientOptions, HttpClient, HttpConnector};
    use object_store::signer::Signer;
    use object_store::{Error, ObjectStore};

    use super::{Opened, Sign};
    use crate::delivery::client_tls;
    use postback_wire::line::Causes;

    /// How long an object store may take to accept a connection.
    const CONNECT: Duration = Duration::from_secs(10);
    /// How long an object store may send nothing. A part of an upload must be sent within this time, too.
    const SILENCE: Duration = Duration::from_mins(1);

    pub(super) fn opened<S: ObjectStore + Signer>(built: Result<S, Error>) -> Result<Opened, Option<String>> {
        let wanted = |error: Error| {
            let why = Causes(&error);
            Some(format!("the URL of a bucket whose credentials are in environment variables ({why})"))
        };
        let store = Arc::new(built.map_err(wanted)?);
        let signer = Arc::clone(&store);
        let sign: Sign = Arc::new(move |path, lasts| {
            let signer = Arc::clone(&signer);
            async move { signer.signed_url(Method::GET, &path, lasts).await.map(String::from) }.boxed()
        });
        Ok((store, sign))
    }

    /// Makes the client. Each object store makes two: one for credentials, and one for objects.
    #[derive(Debug)]
    pub(super) struct Connector;

    impl HttpConnector for Connector {
        fn connect(&self, options: &ClientOptions) -> Result<HttpClient, Error> {
            let failed =
                |error: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "HTTP", source: error };
            let mut tls = client_tls(None).map_err(|error| failed(error.into()))?;
            tls.alpn_protocols.clear();
            let may_be_plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .https_only(!may_be_plain)
                .http1_only()
                .connect_timeout(CONNECT)
                .read_timeout(SILENCE)
                .build();
            client.map(HttpClient::new).map_err(|error| failed(error.into()))
        }
    }
}
