//! Damaged files, credentials and answers, the same in every run; `TIDEGATE_MUTATIONS` says how many.

use super::any_bytes;
use super::mutation::run;

/// Inputs for each subject unless the environment names another number.
const INPUTS: u64 = 100_000;

fn inputs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
    let told = std::env::var("TIDEGATE_MUTATIONS");
    told.map_or(INPUTS, |text| text.parse().unwrap())
}

fn corpus(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn no_mutated_file_does_harm() {
    let texts = [
        "user ada\ntopic readwrite a/#\ntopic deny a/b\npattern read devices/%c/+\n",
        "topic read $SYS/#\n# note\nuser bob\ntopic write b\n",
        "[[rule]]\nallow = \"publish\"\ntopics = [\"a/%c/#\"]\nqos = 1\n",
        "ada:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g\n",
        "bob:$7$101$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=\n",
    ];
    run("files", &corpus(&texts), inputs(), any_bytes::files);
}

#[test]
fn no_mutated_credentials_do_harm() {
    let texts = [
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "y,a=us=2Cer,n=us=2Cer,r=abc,x=y",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "?SDK=Python&Version=1.0",
        "name",
    ];
    run("credentials", &corpus(&texts), inputs(), any_bytes::credentials);
}

#[test]
fn no_mutated_answer_of_a_hook_does_harm() {
    let texts = [
        r#"{"allow":true,"user":"ada","class":"sensor","expires_s":60}"#,
        r#"{"allow":true,"claims":{"publish":["a/#"],"subscribe":["b"]}}"#,
        r#"{"allow":false}"#,
        r#"{"allow":true,"expires_s":18446744073709551615}"#,
    ];
    run("hook", &corpus(&texts), inputs(), any_bytes::hook_answer);
}

#[test]
fn no_mutated_pair_of_filters_does_harm() {
    let texts = ["a/+/c\na/b/#", "#\n+/+", "a\na", "$share/x\n+/x", "a//#\na/"];
    run("filters", &corpus(&texts), inputs(), any_bytes::filters);
}
