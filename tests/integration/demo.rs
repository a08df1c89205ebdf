//! `hirl demo` as a user runs it: what it prints is enough to read from it over HTTPS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test fail as the test does")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use serde_json::Value;

use hirl_scale::tls;

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// The demo, and what its curl line says.
struct Demo {
    process: Child,
    files: [PathBuf; 3],
    url: String,
}

impl Demo {
    /// Starts it and reads its banner, to the curl line.
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hirl"))
            .args(["demo", "--headless"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let curl = lines.map_while(Result::ok).find(|line| line.trim().starts_with("curl"));
        let curl =
            curl.unwrap_or_else(|| panic!("no curl line; it ended with {:?}", process.wait()));
        let words: Vec<&str> = curl.split_whitespace().collect();
        let after = |flag: &str| {
            let at = words.iter().position(|word| *word == flag).unwrap();
            PathBuf::from(words[at + 1])
        };
        Self {
            files: ["--cacert", "--cert", "--key"].map(after),
            url: words.last().unwrap().trim_matches('\'').to_owned(),
            process,
        }
    }

    /// Reads `url` with the printed material.
    async fn get(&self, url: &str) -> (StatusCode, Value) {
        let [ca, certificate, key] = self.files.each_ref().map(|file| std::fs::read(file).unwrap());
        let config = tls::client_config(&ca, Some((&certificate, &key))).unwrap();
        let connector = tls::connector(config, ServerName::try_from("127.0.0.1").unwrap());
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
        let answer =
            tokio::time::timeout(PATIENCE, client.request(request)).await.unwrap().unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// What the whole decision says about the first app of `namespace` and `target`.
    async fn decided(&self, target: &str) -> u64 {
        let base = &self.url[..self.url.find("/apis").unwrap()];
        let (status, body) = self.get(&format!("{base}/hirl/v1/decision")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let decision = &body["decision"];
        let apps = decision["catalog"]["apps"].as_array().unwrap();
        let index = apps.iter().position(|app| app["target"] == target).unwrap();
        decision["apps"][index]["replicas"].as_u64().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only where a test failed on its way.
        let _ = self.process.kill();
    }
}

#[tokio::test]
async fn the_printed_line_reads_the_number_that_was_decided_and_ctrl_c_ends_it_cleanly() {
    let mut demo = Demo::start(&["--scenario", "adr-001", "--speed", "20"]);
    let target = demo.url.rsplit("%3D").next().unwrap().to_owned();
    let began = Instant::now();
    loop {
        // Between two reads the number may have changed, so it is read on both sides.
        let before = demo.decided(&target).await;
        let (status, body) = demo.get(&demo.url).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["items"][0]["metricLabels"]["target"], target.as_str());
        let read: u64 = body["items"][0]["value"].as_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&read), "{read} is outside the bounds of every app there");
        if before == demo.decided(&target).await {
            assert_eq!(read, before);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the number never stands still");
    }

    kill_process(Pid::from_child(&demo.process), Signal::INT).unwrap();
    let status = demo.process.wait().unwrap();
    assert!(status.success(), "{status}");
    let folder = demo.files[0].parent().unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
}

#[test]
fn what_cannot_be_simulated_is_refused_in_one_sentence() {
    for (arguments, sentence) in [
        (["--scenario", "no-such"], "\"no-such\" is no file or folder and no scenario"),
        (["--policy", "no-such"], "no policy \"no-such\""),
        (["--speed", "0"], "above 0"),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_hirl")).arg("demo").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}
