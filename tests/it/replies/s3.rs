//! A stand-in for Amazon S3, which knows as much of the protocol as the server needs. It checks no signature.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bytes::Bytes;

/// A bucket with the name `bucket`.
pub struct Bucket {
    pub url: String,
    objects: Arc<Objects>,
}

#[derive(Default)]
struct Objects {
    whole: Mutex<BTreeMap<String, Bytes>>,
    parts: Mutex<BTreeMap<usize, Bytes>>,
    uploaded: AtomicUsize,
    refuses: AtomicBool,
}

impl Bucket {
    pub async fn start() -> Self {
        let objects = Arc::<Objects>::default();
        let app = Router::new()
            .route("/bucket", axum::routing::post(delete).get(list))
            .route("/bucket/{*key}", axum::routing::any(answer))
            .with_state(Arc::clone(&objects));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app.layer(axum::extract::DefaultBodyLimit::disable())).await });
        Self { url, objects }
    }

    /// The environment variables with which a program finds the bucket.
    pub fn variables(&self) -> [(&str, &str); 5] {
        [
            ("AWS_ENDPOINT", &self.url),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "an-id"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret"),
            ("AWS_REGION", "eu-central-1"),
        ]
    }

    /// The names of the objects.
    pub fn names(&self) -> Vec<String> {
        self.objects.whole.lock().unwrap().keys().cloned().collect()
    }

    /// How many parts of uploads have come.
    pub fn parts(&self) -> usize {
        self.objects.uploaded.load(Ordering::SeqCst)
    }

    /// From now on, refuses every change, or none.
    pub fn refuse(&self, refuses: bool) {
        self.objects.refuses.store(refuses, Ordering::SeqCst);
    }
}

fn response(status: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let headers = response.headers_mut();
    headers.insert("etag", "\"1\"".parse().unwrap());
    headers.insert("last-modified", "Sat, 28 Nov 2026 10:00:00 GMT".parse().unwrap());
    response
}

/// Deletes the objects that a list names.
async fn delete(State(objects): State<Arc<Objects>>, body: String) -> Response<Body> {
    let mut deleted = String::new();
    for key in body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()) {
        objects.whole.lock().unwrap().remove(key);
        deleted += &format!("<Deleted><Key>{key}</Key></Deleted>");
    }
    response(200, format!("<DeleteResult>{deleted}</DeleteResult>"))
}

/// Lists the objects whose names begin with a prefix.
async fn list(State(objects): State<Arc<Objects>>, Query(query): Query<HashMap<String, String>>) -> Response<Body> {
    let (whole, prefix) = (objects.whole.lock().unwrap(), query.get("prefix").cloned().unwrap_or_default());
    let listed = whole.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, object)| {
        let (size, at) = (object.len(), "2026-11-28T10:00:00.000Z");
        format!(
            "<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>1</ETag><Size>{size}</Size></Contents>"
        )
    });
    response(200, format!("<ListBucketResult>{}</ListBucketResult>", listed.collect::<String>()))
}

async fn answer(
    State(objects): State<Arc<Objects>>,
    method: Method,
    Path(key): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    if method != Method::GET && objects.refuses.load(Ordering::SeqCst) {
        return response(403, "<Error><Code>AccessDenied</Code><Message>not today</Message></Error>");
    }
    let mut whole = objects.whole.lock().unwrap();
    let mut parts = objects.parts.lock().unwrap();
    match (method.as_str(), query.get("partNumber")) {
        ("POST", _) if query.contains_key("uploads") => {
            parts.clear();
            let started = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
            response(200, started)
        }
        ("PUT", Some(number)) => {
            parts.insert(number.parse().unwrap(), body);
            objects.uploaded.fetch_add(1, Ordering::SeqCst);
            response(200, "")
        }
        ("POST", _) if query.contains_key("uploadId") => {
            whole.insert(key, parts.values().flatten().copied().collect());
            response(200, "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>")
        }
        ("PUT", None) => {
            whole.insert(key, body);
            response(200, "")
        }
        ("GET", _) => {
            let Some(object) = whole.get(&key) else { return response(404, "") };
            let range = headers.get("range").and_then(|range| range.to_str().ok());
            let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")) else {
                return response(200, object.clone());
            };
            let (from, to) = range.split_once('-').unwrap();
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            let mut response = response(206, object.slice(from..=to));
            let found = format!("bytes {from}-{to}/{}", object.len());
            response.headers_mut().insert("content-range", found.parse().unwrap());
            response
        }
        _ => response(400, ""),
    }
}
