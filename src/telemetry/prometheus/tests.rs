use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;

use super::*;

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// Serves `router` on loopback until the runtime of the test ends.
async fn serve(router: Router) -> Settings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Settings { url, ..Settings::default() }
}

async fn ask(router: Router, change: impl FnOnce(&mut Settings)) -> Result<Reply, QueryError> {
    let mut settings = serve(router).await;
    change(&mut settings);
    Prometheus::new(&settings).unwrap().query("up{a=\"é &+%\"}", clock::now()).await
}

fn at_query<H, T>(handler: H) -> Router
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    Router::new().route("/prefix/api/v1/query", post(handler))
}

#[tokio::test]
async fn a_query_is_posted_as_a_form_with_its_time_and_timeout() {
    let settings = serve(at_query(|body: String| async move { body })).await;
    let prometheus = Prometheus::new(&settings).unwrap();
    let now = Timestamp::from_millis(1_763_769_335_120);
    let reply = prometheus.query("up{a=\"é &+%\"}", now).await.unwrap();
    assert_eq!(
        reply.body,
        "query=up%7Ba%3D%22%C3%A9%20%26%2B%25%22%7D&time=1763769335.120&timeout=2000ms"
    );
}

#[tokio::test]
async fn the_clock_difference_comes_from_the_date_header() {
    let reply = ask(at_query(|| async { EMPTY }), |_| {}).await.unwrap();
    assert!(reply.skew.unwrap().abs() < 30.0, "{:?}", reply.skew);
    let late = clock::now().as_seconds() + 100.0;
    let date = jiff::Timestamp::from_second(late as i64).unwrap();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date);
    let router = at_query(move || async move { ([(DATE, date.unwrap())], EMPTY) });
    let skew = ask(router, |_| {}).await.unwrap().skew.unwrap();
    assert!((70.0..130.0).contains(&skew), "{skew}");
    let reply = ask(at_query(|| async { ([(DATE, "yesterday")], EMPTY) }), |_| {}).await.unwrap();
    assert_eq!(reply.skew, None);
}

#[tokio::test]
async fn a_refused_query_says_why_and_does_not_concern_the_endpoint() {
    let body = r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error"}"#;
    let router = at_query(move || async move { (StatusCode::BAD_REQUEST, body) });
    let error = ask(router, |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "Prometheus refused the query: bad_data: 1:3: parse error");
    assert!(!error.concerns_endpoint());
}

#[tokio::test]
async fn an_overloaded_or_forbidding_endpoint_concerns_every_query() {
    let body = r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
    let router = at_query(move || async move { (StatusCode::SERVICE_UNAVAILABLE, body) });
    let error = ask(router, |_| {}).await.unwrap_err();
    assert!(matches!(error, QueryError::Refused(_)) && error.concerns_endpoint(), "{error}");
    for status in [401, 403, 404, 429, 500, 502, 503] {
        let router =
            at_query(move || async move { (StatusCode::from_u16(status).unwrap(), "no upstream") });
        let error = ask(router, |_| {}).await.unwrap_err();
        assert!(error.to_string().ends_with(&format!("HTTP status {status}")), "{error}");
        assert!(error.concerns_endpoint());
    }
}

#[tokio::test]
async fn a_hanging_server_ends_in_a_timeout() {
    let router = at_query(std::future::pending::<&str>);
    let error = ask(router, |settings| settings.timeout_seconds = 0.05).await.unwrap_err();
    assert!(matches!(error, QueryError::Timeout { .. }), "{error}");
    assert!(error.to_string().ends_with("did not answer within 0.05 s"), "{error}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let router = at_query(|| async { vec![b' '; MAX_BODY + 1] });
    let change = |settings: &mut Settings| settings.timeout_seconds = 60.0;
    assert!(matches!(ask(router, change).await.unwrap_err(), QueryError::TooLarge));
}

#[tokio::test]
async fn nobody_listening_is_unreachable_with_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = Settings { url: url.clone(), ..Settings::default() };
    let error = Prometheus::new(&settings).unwrap().query("up", clock::now()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot reach Prometheus at {url}/api/v1/query: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn long_error_texts_are_cut() {
    let body =
        format!(r#"{{"status":"error","errorType":"execution","error":"{}"}}"#, "é".repeat(9000));
    let router = at_query(move || async move { (StatusCode::UNPROCESSABLE_ENTITY, body) });
    let error = ask(router, |_| {}).await.unwrap_err().to_string();
    assert!(error.chars().count() < MAX_MESSAGE + 100 && error.ends_with('…'), "{error}");
}

#[test]
fn the_timeout_that_prometheus_is_told_is_ours() {
    assert_eq!(Settings::default().timeout(), Duration::from_secs(2));
}
