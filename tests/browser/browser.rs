//! A browser for tests. It speaks the WebDriver protocol, which is JSON over HTTP, with chromedriver.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postback_tests::{Process, client, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A driver prints this text and then its port when it is ready.
const READY: &str = "was started successfully on port ";
/// The program that checks accessibility. `axe/README.md` says where it comes from.
const AXE: &str = include_str!("axe/axe.min.js");
/// The longest time of one command. A browser that starts on a busy machine needs the most.
const COMMAND: Duration = Duration::from_secs(60);

/// The size of the window, in CSS pixels.
#[derive(Clone, Copy)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// A desktop's window.
pub const DESKTOP: Size = Size { width: 1280, height: 800 };
/// A phone's window.
pub const PHONE: Size = Size { width: 390, height: 844 };

/// A browser with one window. The browser and its profile are gone when this value is dropped.
pub struct Browser {
    runtime: Runtime,
    client: reqwest::Client,
    session: String,
    // Dropped in this order: the driver, and then the folder of the profile.
    _driver: Process,
    _folder: TempDir,
}

impl Browser {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut driver = Process::start("chromedriver", folder.path(), &["--port=0"], &[]);
        let printed = driver.wait_for(READY);
        let port = printed.split(READY).nth(1).and_then(|rest| rest.split('.').next()).expect("a port").to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut browser = Self {
            runtime,
            client: client(),
            session: format!("http://127.0.0.1:{port}/session"),
            _driver: driver,
            _folder: folder,
        };
        let profile = format!("--user-data-dir={}", browser._folder.path().join("profile").display());
        let quiet =
            ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
        // `--no-sandbox` lets the browser run as root. The tests open pages of this machine only.
        let mut flags = vec!["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"];
        // In containers, /dev/shm may be too small.
        flags.push("--disable-dev-shm-usage");
        flags.extend(quiet);
        flags.push(&profile);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": COMMAND.as_millis() as u64, "pageLoad": COMMAND.as_millis() as u64},
        }}});
        let id = browser.send("", Some(wanted)).expect("a browser")["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{}/{id}", browser.session);
        browser.resize(DESKTOP);
        browser
    }

    /// Sends a command, and returns its answer. A command without a body is a GET.
    pub fn send(&self, path: &str, body: Option<Value>) -> Result<Value, String> {
        let url = format!("{}{path}", self.session);
        let request = match body {
            Some(body) => self.client.post(url).json(&body),
            None => self.client.get(url),
        };
        let answer = self.runtime.block_on(async { request.timeout(COMMAND).send().await?.json::<Value>().await });
        let mut answer = answer.map_err(|error| format!("{path}: {error}"))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{path}: {error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    fn post(&self, path: &str, body: Value) -> Value {
        self.send(path, Some(body)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a command of the DevTools protocol.
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// Opens a page, and returns when it is loaded.
    pub fn open(&self, url: &str) {
        self.post("/url", json!({"url": url}));
    }

    pub fn reload(&self) {
        self.post("/refresh", json!({}));
    }

    /// Runs the body of a function in the page, and returns what the function returns. If that is a promise, waits for it.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// Waits until a JavaScript expression is true in the page.
    pub fn wait_until(&self, expression: &str) {
        let script = format!("return Boolean({expression}) || document.body.innerText.slice(0, 4000)");
        eventually(expression, || match self.send("/execute/sync", Some(json!({"script": script, "args": []}))) {
            Ok(Value::Bool(true)) => Ok(()),
            other => Err(other),
        });
    }

    /// Waits until the page shows this text.
    pub fn wait_for_text(&self, text: &str) {
        self.wait_until(&format!("document.body.innerText.includes({})", json!(text)));
    }

    pub fn resize(&self, size: Size) {
        let Size { width, height } = size;
        let phone = width < 600;
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Makes pages believe that the user prefers dark colours.
    pub fn prefer_dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let feature = json!({"name": "prefers-color-scheme", "value": value});
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// The errors and warnings on the browser's console since the last call: exceptions, refused resources, failed loads.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({"type": "browser"}));
        let entries = entries.as_array().cloned().unwrap_or_default();
        let bad = entries.iter().filter(|entry| ["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap_or("")));
        bad.map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// Fails if the console has errors or warnings.
    pub fn has_no_errors(&self) {
        let console = self.console();
        assert!(console.is_empty(), "the console of the browser has:\n{}", console.join("\n"));
    }

    /// Fails if the console has errors or warnings, and leaves the page, so that its server can end.
    pub fn leaves_without_errors(&self) {
        self.has_no_errors();
        self.open("about:blank");
    }

    /// The accessibility rules that the page violates, as texts.
    pub fn violations(&self) -> Vec<String> {
        if self.run("return typeof window.axe") == "undefined" {
            self.run(AXE);
        }
        let found = self.run("return axe.run(document, {resultTypes: ['violations']}).then(found => found.violations)");
        let text = |violation: &Value| {
            let nodes = violation["nodes"].as_array().cloned().unwrap_or_default();
            let nodes: Vec<String> =
                nodes.iter().map(|node| format!("  {} {}", node["html"], node["failureSummary"])).collect();
            format!("{}: {}\n{}", violation["id"], violation["help"], nodes.join("\n"))
        };
        found.as_array().expect("a list of violations").iter().map(text).collect()
    }

    /// Fails if the page violates an accessibility rule, in light or in dark colours.
    pub fn is_accessible(&self) {
        for dark in [true, false] {
            self.prefer_dark(dark);
            let violations = self.violations();
            assert!(violations.is_empty(), "dark: {dark}; the page violates:\n{}", violations.join("\n"));
        }
    }

    /// Whether the page is not wider than the window, so that nobody has to scroll sideways.
    pub fn fits(&self) -> bool {
        self.run("return document.documentElement.scrollWidth <= window.innerWidth") == true
    }

    /// Writes what the window shows to `NAME.png` in the target folder, and returns the file's path.
    pub fn screenshot(&self, name: &str) -> PathBuf {
        let image = self.send("/screenshot", None).expect("a screenshot");
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, STANDARD.decode(image.as_str().expect("base64")).expect("base64")).expect("a file");
        path
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the page, of which a screenshot is in {:?} ---", self.try_screenshot());
        }
        // Ends the browser. Otherwise it would outlive the driver.
        let request = self.client.delete(&self.session).timeout(Duration::from_secs(10));
        let _ = self.runtime.block_on(async { request.send().await });
    }
}

impl Browser {
    /// Takes a screenshot while a test fails.
    fn try_screenshot(&self) -> Option<PathBuf> {
        self.send("/screenshot", None).ok()?;
        let name = std::thread::current().name().unwrap_or("failed").replace(|c: char| !c.is_alphanumeric(), "_");
        Some(self.screenshot(&format!("failed_{name}")))
    }
}
