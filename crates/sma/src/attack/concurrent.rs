//! One token, or one number, at two authorities over one PostgreSQL at the same moment.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use birthmark_core::ids::AuthorityId;
use birthmark_service::auth::Authenticator;
use birthmark_service::postgres::cluster::Cluster;
use tower::ServiceExt;

use super::*;
use crate::{InitOptions, init, store};

const ROUNDS: u8 = 100;

async fn ask(router: &Router, question: &Value) -> Heard {
    let request = Request::post("/validate").header("content-type", "application/json");
    let request = request.body(Body::from(question.to_string())).unwrap();
    Heard::of(router.clone().oneshot(request).await.unwrap()).await
}

fn router(sma: &Sma) -> Router {
    sma.router(Authenticator::open("127.0.0.1:8001".parse().unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn token_at_two_authorities_at_once_passes_exactly_once() {
    let cluster = Cluster::start();
    let url = Some(cluster.database("shared"));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let options = InitOptions { database_url: url.clone(), ..InitOptions::new(AuthorityId::new(AUTHORITY).unwrap()) };
    init(folders[0].path(), &options, &*testing::clock()).unwrap();
    let [from, to] = [&folders[0], &folders[1]].map(|folder| store::master_key_path(folder.path()));
    std::fs::copy(from, to).unwrap();
    let config = SmaConfig { database_url: url, ..testing::config() };
    let [one, two] =
        [&folders[0], &folders[1]].map(|folder| Sma::open(folder.path(), config.clone(), testing::clock()).unwrap());
    let routers = [router(&one), router(&two)];
    let public = Public::of(&two).await;
    let config = one.provision(testing::camera_request(1)).await.unwrap();
    let token_key = one.statement().await.unwrap().token_key.unwrap();
    let camera = Camera { config, nuc_hash: NucHash::from_hex(&testing::nuc_hex(1)).unwrap(), token_key };
    let mut firsts = 0;
    for round in 1..=ROUNDS {
        let asked = camera.question();
        let (left, right) = (asked_under(1, asked.clone()), asked_under(2, asked));
        let heard = tokio::join!(ask(&routers[0], &left), ask(&routers[1], &right));
        let mut messages = [heard.0.message(), heard.1.message()];
        messages.sort();
        assert_eq!(messages, ["token_used", "token_valid"], "version 1, round {round}");

        let photos = [1, 2].map(|number| Photo::new(&public.key, public.network, number));
        let [left, right] = [0, 1].map(|at| public.seal(&camera, &photos[at], u64::from(round)));
        let (questions, backwards) = ([left.question(), right.question()], usize::from(round % 2));
        let (a, b) = (&questions[backwards], &questions[1 - backwards]);
        let heard = tokio::join!(ask(&routers[0], a), ask(&routers[1], b));
        let (passed, failed, winner) = match heard.0.message().as_str() {
            "token_valid" => (heard.0, heard.1, backwards),
            _ => (heard.1, heard.0, 1 - backwards),
        };
        assert_eq!(failed.message(), "token_used", "version 2, round {round}");
        photos[winner].finish(&public.key, &passed.blind_signature());
        firsts += winner;
        // The very same token at both is one use, and both get the one endorsement.
        let same = tokio::join!(ask(&routers[0], &questions[winner]), ask(&routers[1], &questions[winner]));
        assert_eq!((&same.0, &same.1), (&passed, &passed), "round {round}");
    }
    println!("of {ROUNDS} pairs the second photo won {firsts}");
    let tally = cluster.sql("shared", "SELECT count(*) FROM used_token");
    assert_eq!(tally, ROUNDS.to_string());
    one.close().await;
    two.close().await;
}
