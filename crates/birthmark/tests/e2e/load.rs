//! The seed's load test: 250 captures, several at a time, every one of them on record at the end.

use futures::{StreamExt as _, stream};

use crate::installation::Demo;
use crate::submissions::{Device, raw_hash, send};

const CAPTURES: u64 = 250;
const AT_A_TIME: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_captures_are_all_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&folder.path().join("demo"), &[]);
    demo.result();
    let (aggregator, node) = (demo.client("aggregator"), demo.client("node"));
    let device = Device::provision(&demo.client("sma"), "LOAD_TEST").await;
    let submissions: Vec<_> = (0..CAPTURES).map(|number| device.submission(number)).collect();
    let answers = stream::iter(&submissions).map(|submission| send(&aggregator, submission, 30));
    let answers: Vec<_> = answers.buffer_unordered(AT_A_TIME).collect().await;
    for answer in answers {
        assert_eq!(answer.unwrap().body["status"], "confirmed");
    }
    for number in 0..CAPTURES {
        let path = format!("/api/v1/verify/{}?proof=0", raw_hash(number));
        assert_eq!(node.get_json::<serde_json::Value>(&path).await.unwrap().body["verified"], true);
    }
}
