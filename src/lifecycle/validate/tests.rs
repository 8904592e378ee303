//! Every row of lifecycle.md section 9 that a lifecycle file can break, in its exact words.

use std::time::Duration;

use crate::lifecycle::model::{Handler, HookLog, OnFailure, SuccessStatus};
use crate::lifecycle::signal::Signal;
use crate::lifecycle::source::fixture::{from_lifecycle, problems};

fn refused(text: &str) -> Vec<String> {
    problems(from_lifecycle(text))
}

fn warnings(text: &str) -> Vec<String> {
    from_lifecycle(text).unwrap().warnings
}

fn hook(name: &str, handler: &str) -> Vec<String> {
    refused(&format!("lifecycle: {{{name}: {handler}}}"))
}

#[test]
fn the_shape_of_section_2_is_read_as_it_stands() {
    let resolved = from_lifecycle(
        "terminationGracePeriodSeconds: 30
ports: [{name: http, containerPort: 8080}]
lifecycle:
  postStart: {httpGet: {path: /warm, port: http}}
  preStop:   {sleep: {seconds: 5}}
  stopSignal: SIGQUIT
extensions:
  preStart: [{exec: {command: [/bin/migrate]}}]
  postStop: [{exec: {command: [/bin/collect]}}]
  policy:
    postStart: {timeoutSeconds: 20, retries: 3, retryDelaySeconds: 1.5, onFailure: ignore, successStatus: 2xx-3xx, log: both, injectEnv: true}
",
    )
    .unwrap();
    let plan = resolved.plan;
    assert_eq!((plan.grace_seconds, plan.stop_signal), (30, Signal::QUIT));
    let start = plan.post_start.unwrap();
    let Handler::HttpGet(get) = start.handler else { panic!("{start:?}") };
    assert_eq!((get.port, get.path.as_str(), get.host), (8080, "/warm", None));
    assert_eq!(start.policy.timeout, Some(Duration::from_secs(20)));
    assert_eq!((start.policy.retries, start.policy.retry_delay), (3, Duration::from_millis(1500)));
    assert_eq!((start.policy.on_failure, start.policy.success_status), (OnFailure::Ignore, SuccessStatus::Below400));
    assert_eq!((start.policy.log, start.policy.inject_env), (HookLog::Both, true));
    assert_eq!(plan.pre_stop.unwrap().handler, Handler::Sleep { seconds: 5 });
    assert_eq!(plan.pre_start[0].handler, Handler::Exec { command: vec!["/bin/migrate".to_owned()] });
    assert_eq!(plan.pre_start[0].policy.timeout, Some(Duration::from_secs(60)));
    assert!(plan.post_stop[0].source.ends_with("hooks.yaml: extensions.postStop[0]"), "{:?}", plan.post_stop);
    assert_eq!(resolved.warnings, Vec::<String>::new());
}

#[test]
fn v_01_an_empty_handler_is_refused() {
    let expected = ["lifecycle.postStart: Required value: must specify a handler type"];
    assert_eq!(hook("postStart", "{}"), expected);
    assert_eq!(hook("postStart", "{exec: null, httpGet: ~}"), expected);
}

#[test]
fn v_02_a_second_handler_is_refused() {
    assert_eq!(
        hook("postStart", "{sleep: {seconds: 1}, httpGet: {port: 80}, exec: {command: [a]}}"),
        [
            "lifecycle.postStart.httpGet: Forbidden: may not specify more than 1 handler type",
            "lifecycle.postStart.sleep: Forbidden: may not specify more than 1 handler type",
        ]
    );
}

#[test]
fn v_03_an_exec_without_a_command_is_refused() {
    for exec in ["{}", "{command: []}", "{command: null}"] {
        assert_eq!(hook("preStop", &format!("{{exec: {exec}}}")), ["lifecycle.preStop.exec.command: Required value"]);
    }
}

#[test]
fn v_04_a_command_is_a_list() {
    let line = "lifecycle.preStop.exec.command: Invalid value: must be a list of strings; for a shell line use \
                [\"/bin/sh\", \"-c\", \"...\"]";
    assert_eq!(hook("preStop", "{exec: {command: sleep 5}}"), [line]);
    assert_eq!(
        hook("preStop", "{exec: {command: [sleep, 5, yes]}}"),
        [
            "lifecycle.preStop.exec.command[1]: Invalid value: 5: must be a string; put it in quotes",
            "lifecycle.preStop.exec.command[2]: Invalid value: yes: must be a string; put it in quotes",
        ]
    );
}

#[test]
fn v_05_an_empty_program_and_a_nul_are_refused() {
    assert_eq!(
        hook("preStop", r#"{exec: {command: ["", "a\0b"]}}"#),
        [
            "lifecycle.preStop.exec.command[0]: Invalid value: \"\": must not be empty",
            "lifecycle.preStop.exec.command[1]: Invalid value: \"a\\x00b\": must not contain a NUL byte",
        ]
    );
    assert!(from_lifecycle("lifecycle: {preStop: {exec: {command: [a, '']}}}").is_ok());
}

#[test]
fn v_06_a_port_is_between_1_and_65535() {
    for port in ["0", "65536", "-1", "99999999999999999999"] {
        for handler in ["httpGet", "tcpSocket"] {
            assert_eq!(
                hook("preStop", &format!("{{{handler}: {{port: {port}}}}}")),
                [format!(
                    "lifecycle.preStop.{handler}.port: Invalid value: {port}: must be between 1 and 65535, inclusive"
                )]
            );
        }
    }
    assert!(from_lifecycle("lifecycle: {preStop: {httpGet: {port: 65535}}}").is_ok());
}

#[test]
fn v_07_a_missing_port_is_0() {
    let line = "lifecycle.preStop.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive";
    assert_eq!(hook("preStop", "{httpGet: {path: /}}"), [line]);
}

#[test]
fn v_08_a_quoted_number_is_no_port() {
    assert_eq!(
        hook("preStop", "{httpGet: {port: \"8080\"}}"),
        ["lifecycle.preStop.httpGet.port: Invalid value: \"8080\": must contain at least one letter (a-z); write the \
          number without quotes"]
    );
}

#[test]
fn v_09_a_port_name_has_15_characters() {
    assert_eq!(
        hook("preStop", "{httpGet: {port: abcdefghijklmnop}}"),
        ["lifecycle.preStop.httpGet.port: Invalid value: \"abcdefghijklmnop\": must be no more than 15 characters"]
    );
}

#[test]
fn v_10_a_port_name_is_made_of_letters_digits_and_single_hyphens() {
    let port = |name: &str, why: &str| format!("lifecycle.preStop.httpGet.port: Invalid value: \"{name}\": {why}");
    let characters = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
    for (name, why) in [
        ("a_b", characters),
        ("Http", characters),
        ("a--b", "must not contain consecutive hyphens"),
        ("-a", "must not begin or end with a hyphen"),
        ("a-", "must not begin or end with a hyphen"),
    ] {
        assert_eq!(hook("preStop", &format!("{{httpGet: {{port: '{name}'}}}}")), [port(name, why)]);
    }
    assert_eq!(
        refused("ports: [{name: A, containerPort: 1}]"),
        [
            format!("ports[0].name: Invalid value: \"A\": {characters}"),
            "ports[0].name: Invalid value: \"A\": must contain at least one letter (a-z)".to_owned()
        ]
    );
}

#[test]
fn v_11_an_undeclared_port_name_is_refused() {
    let line = "lifecycle.preStop.httpGet.port: Not found: \"web\"";
    assert_eq!(
        refused("ports: [{name: http, containerPort: 1}]\nlifecycle: {preStop: {httpGet: {port: web}}}"),
        [line]
    );
}

#[test]
fn v_12_a_scheme_is_http_or_https_in_capitals() {
    assert_eq!(
        hook("preStop", "{httpGet: {port: 1, scheme: https}}"),
        ["lifecycle.preStop.httpGet.scheme: Unsupported value: \"https\": supported values: \"HTTP\", \"HTTPS\""]
    );
}

#[test]
fn v_13_a_header_name_has_letters_digits_and_hyphens() {
    for name in ["X Y", "", "X:Y", "X_Y", "\\r\\nX", "\\0", "é"] {
        let found =
            hook("preStop", &format!("{{httpGet: {{port: 1, httpHeaders: [{{name: \"{name}\", value: v}}]}}}}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("lifecycle.preStop.httpGet.httpHeaders: Invalid value: \""), "{found:?}");
        let why = "\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex \
                   used for validation is '[-A-Za-z0-9]+')";
        assert!(found[0].ends_with(why), "{found:?}");
    }
}

#[test]
fn v_14_a_header_value_or_path_has_no_line_break() {
    for value in ["a\\rb", "a\\nb", "a\\0b", "\\r\\nX-Evil: 1"] {
        assert_eq!(
            hook("preStop", &format!("{{httpGet: {{port: 1, httpHeaders: [{{name: X, value: \"{value}\"}}]}}}}")),
            ["lifecycle.preStop.httpGet.httpHeaders[0].value: Invalid value: must not contain line breaks"]
        );
        assert_eq!(
            hook("preStop", &format!("{{httpGet: {{port: 1, path: \"/{value}\"}}}}")),
            ["lifecycle.preStop.httpGet.path: Invalid value: must not contain line breaks"]
        );
    }
}

#[test]
fn v_15_a_host_is_a_name_or_an_address_only() {
    for host in ["http://x", "x/y", "x:80", "x y", "[::1]", "x\\r\\nHost: y", "u@x", "é.example"] {
        let found = hook("preStop", &format!("{{httpGet: {{port: 1, host: \"{host}\"}}}}"));
        assert_eq!(
            found,
            [format!("lifecycle.preStop.httpGet.host: Invalid value: \"{host}\": must be a host name or address only")]
        );
    }
    for host in ["x.example", "10.0.0.1", "'::1'", "'fe80::1%eth0'", "a_b", "''"] {
        let text = format!("lifecycle: {{preStop: {{httpGet: {{port: 1, host: {host}}}}}}}");
        assert!(from_lifecycle(&text).is_ok(), "{host}");
    }
}

#[test]
fn v_16_an_empty_path_is_the_root() {
    for path in ["", "path: '',", "path: null,"] {
        let plan = from_lifecycle(&format!("lifecycle: {{preStop: {{httpGet: {{{path} port: 1}}}}}}")).unwrap().plan;
        let Handler::HttpGet(get) = plan.pre_stop.unwrap().handler else { panic!("no httpGet") };
        assert_eq!(get.path, "/");
    }
}

#[test]
fn v_17_a_sleep_fits_in_the_grace_period() {
    let sleep = |grace: &str, hook: &str, seconds: &str| {
        from_lifecycle(&format!("{grace}\nlifecycle: {{{hook}: {{sleep: {{seconds: {seconds}}}}}}}"))
    };
    assert_eq!(
        problems(sleep("", "preStop", "40")),
        ["lifecycle.preStop.sleep: Invalid value: 40: must be non-negative and less than \
          terminationGracePeriodSeconds (30)"]
    );
    assert_eq!(
        problems(sleep("terminationGracePeriodSeconds: 5", "postStart", "-1")),
        ["lifecycle.postStart.sleep: Invalid value: -1: must be non-negative and less than \
          terminationGracePeriodSeconds (5)"]
    );
    assert!(sleep("", "preStop", "30").is_ok());
    assert!(sleep("terminationGracePeriodSeconds: 60", "preStop", "60").is_ok());
    // X-S02
    assert!(from_lifecycle("lifecycle: {preStop: {sleep: {}}}").is_ok());
    assert_eq!(
        refused("extensions: {preStart: [{sleep: {seconds: -2}}]}"),
        ["extensions.preStart[0].sleep: Invalid value: -2: must be greater than or equal to 0"]
    );
}

#[test]
fn v_18_sleep_seconds_are_an_integer() {
    for seconds in ["1.5", "\"5\"", "true"] {
        assert_eq!(
            hook("preStop", &format!("{{sleep: {{seconds: {seconds}}}}}")),
            [format!("lifecycle.preStop.sleep.seconds: Invalid value: {seconds}: must be an integer")]
        );
    }
}

#[test]
fn v_19_a_negative_grace_period_is_1_with_a_warning() {
    let resolved =
        from_lifecycle("terminationGracePeriodSeconds: -5\nlifecycle: {preStop: {exec: {command: [a]}}}").unwrap();
    assert_eq!(resolved.plan.grace_seconds, 1);
    assert_eq!(
        resolved.warnings,
        ["terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"]
    );
    assert_eq!(
        refused("terminationGracePeriodSeconds: -5\nlifecycle: {preStop: {sleep: {seconds: 1}}}"),
        ["lifecycle.preStop.sleep: Invalid value: 1: must be non-negative and less than \
          terminationGracePeriodSeconds (-5)"]
    );
}

#[test]
fn v_20_a_stop_signal_has_its_full_name() {
    for (word, hint) in [
        ("TERM", "; did you mean \"SIGTERM\"?"),
        ("sigquit", "; did you mean \"SIGQUIT\"?"),
        ("15", "; did you mean \"SIGTERM\"?"),
        ("SIGFOO", ""),
    ] {
        let found = refused(&format!("lifecycle: {{stopSignal: {word}}}"));
        let begin = format!(
            "lifecycle.stopSignal: Unsupported value: \"{word}\": supported values: \"SIGABRT\", \"SIGALRM\", "
        );
        assert!(found[0].starts_with(&begin), "{found:?}");
        assert!(hint.is_empty() || found[0].ends_with(&format!("\"SIGXFSZ\"{hint}")), "{found:?}");
    }
}

#[test]
fn v_21_a_stop_signal_needs_no_operating_system() {
    assert_eq!(from_lifecycle("lifecycle: {stopSignal: SIGINT}").unwrap().plan.stop_signal, Signal::INT);
}

#[test]
fn v_22_an_unknown_field_is_refused_with_the_nearest_name() {
    assert_eq!(
        refused("lifecycle: {prestop: {sleep: {}}}"),
        ["lifecycle.prestop: Unknown field; did you mean \"preStop\"?"]
    );
    assert_eq!(
        hook("postStart", "{grpc: {port: 1}}"),
        ["lifecycle.postStart.grpc: Unknown field; grpc is a probe handler, not a lifecycle handler"]
    );
    assert_eq!(
        hook("preStop", "{exec: {command: [a]}, timeoutSeconds: 3}"),
        ["lifecycle.preStop.timeoutSeconds: Unknown field; put it under extensions.policy.preStop"]
    );
    assert_eq!(refused("lifecyle: {}"), ["lifecyle: Unknown field; did you mean \"lifecycle\"?"]);
    assert_eq!(refused("apiVersion: v1"), ["apiVersion: Unknown field; this is a Pod's: use --pod"]);
    assert_eq!(
        hook("preStop", "{exec: {command: [a], \"x\\ny\": 1}}"),
        ["lifecycle.preStop.exec.\"x\\ny\": Unknown field; known are command, timeoutSeconds"]
    );
}

#[test]
fn v_23_null_is_absent() {
    let plan =
        from_lifecycle("lifecycle: {preStop: null, postStart: ~, stopSignal:}\nextensions:\nports: null").unwrap().plan;
    assert!(!plan.has_hooks());
}

#[test]
fn t_07_v_24_a_sleep_is_not_retried() {
    assert_eq!(
        refused("lifecycle: {preStop: {sleep: {seconds: 1}}}\nextensions: {policy: {preStop: {retries: 2}}}"),
        ["extensions.policy.preStop.retries: Invalid value: 2: a sleep hook cannot be retried"]
    );
}

fn policy(field: &str) -> Vec<String> {
    refused(&format!(
        "lifecycle: {{preStop: {{exec: {{command: [a]}}}}}}\nextensions: {{policy: {{preStop: {{{field}}}}}}}"
    ))
}

#[test]
fn v_25_limits_and_retries_are_not_negative() {
    for field in ["timeoutSeconds", "retries", "retryDelaySeconds"] {
        assert_eq!(
            policy(&format!("{field}: -1")),
            [format!("extensions.policy.preStop.{field}: Invalid value: -1: must be greater than or equal to 0")]
        );
    }
    for field in ["timeoutSeconds", "retries"] {
        assert_eq!(
            policy(&format!("{field}: 1.5")),
            [format!("extensions.policy.preStop.{field}: Invalid value: 1.5: must be an integer")]
        );
    }
    assert_eq!(
        policy("retries: 101"),
        ["extensions.policy.preStop.retries: Invalid value: 101: must be between 0 and 100, inclusive"]
    );
    assert_eq!(
        hook("preStop", "{exec: {command: [a], timeoutSeconds: -3}}"),
        ["lifecycle.preStop.exec.timeoutSeconds: Invalid value: -3: must be greater than or equal to 0"]
    );
    assert_eq!(policy("retryDelaySeconds: .nan").len(), 1);
    assert_eq!(policy("retryDelaySeconds: 1e300").len(), 1);
}

#[test]
fn v_26_two_different_limits_conflict() {
    let both = |own: &str, general: &str| {
        from_lifecycle(&format!(
            "lifecycle: {{preStop: {{exec: {{command: [a], timeoutSeconds: {own}}}}}}}\n\
             extensions: {{policy: {{preStop: {{timeoutSeconds: {general}}}}}}}"
        ))
    };
    assert_eq!(
        problems(both("3", "4")),
        ["lifecycle.preStop.exec.timeoutSeconds: Forbidden: conflicts with extensions.policy.preStop.timeoutSeconds"]
    );
    assert_eq!(both("3", "3").unwrap().plan.pre_stop.unwrap().policy.timeout, Some(Duration::from_secs(3)));
}

#[test]
fn x_e16_exec_timeout_seconds_is_the_policys() {
    let plan = from_lifecycle(
        "lifecycle: {postStart: {exec: {command: [a], timeoutSeconds: 7}}}\n\
         extensions: {preStart: [{exec: {command: [a], timeoutSeconds: 0}}]}",
    )
    .unwrap()
    .plan;
    assert_eq!(plan.post_start.unwrap().policy.timeout, Some(Duration::from_secs(7)));
    assert_eq!(plan.pre_start[0].policy.timeout, None);
}

#[test]
fn v_27_words_are_one_of_those_supported() {
    for (field, words) in [
        ("onFailure", "\"fail\", \"ignore\""),
        ("log", "\"file\", \"inherit\", \"both\", \"container\", \"none\""),
        ("successStatus", "\"any\", \"2xx-3xx\""),
    ] {
        assert_eq!(
            policy(&format!("{field}: x")),
            [format!("extensions.policy.preStop.{field}: Unsupported value: \"x\": supported values: {words}")]
        );
    }
}

#[test]
fn v_28_a_policy_needs_its_hook() {
    let line = "extensions.policy.preStop: Invalid value: no such hook is defined";
    assert_eq!(refused("extensions: {policy: {preStop: {retries: 1}}}"), [line]);
    assert_eq!(refused("lifecycle: {postStart: {sleep: {}}}\nextensions: {policy: {preStop: {}}}"), [line]);
}

#[test]
fn v_29_a_request_before_start_or_after_stop_names_its_host() {
    let why = "Required value: nothing listens in the container at this stage";
    assert_eq!(
        refused("extensions: {postStop: [{httpGet: {port: 1}}], preStart: [{sleep: {}}, {tcpSocket: {port: 1}}]}"),
        [
            format!("extensions.preStart[1].tcpSocket.host: {why}"),
            format!("extensions.postStop[0].httpGet.host: {why}")
        ]
    );
}

#[test]
fn v_30_the_extensions_are_not_kubernetes() {
    let line = "lifecycle.preStart: Unknown field; preStart is an extension, put it under \"extensions\"";
    assert_eq!(refused("lifecycle: {preStart: [{sleep: {}}]}"), [line]);
    let line = "lifecycle.postStop: Unknown field; postStop is an extension, put it under \"extensions\"";
    assert_eq!(refused("lifecycle: {postStop: {}}"), [line]);
}

#[test]
fn v_31_a_success_status_is_for_http() {
    assert_eq!(policy("successStatus: any"), ["extensions.policy.preStop.successStatus: Forbidden: only for httpGet"]);
}

#[test]
fn v_32_port_names_are_unique() {
    assert_eq!(
        refused("ports: [{name: http, containerPort: 1}, {name: http, containerPort: 2}]"),
        ["ports[1].name: Duplicate value: \"http\""]
    );
    assert_eq!(refused("ports: [{name: a}]"), ["ports[0].containerPort: Required value"]);
}

#[test]
fn v_33_bad_yaml_and_duplicate_keys_have_their_place() {
    assert_eq!(
        refused("lifecycle:\n  preStop: {sleep: {}}\n  preStop: {sleep: {}}\n"),
        ["hooks.yaml:3:3: duplicate key \"preStop\", first on line 2"]
    );
    assert_eq!(
        refused("{\"lifecycle\": {},\n \"lifecycle\": {}}"),
        ["hooks.yaml:2:2: duplicate key \"lifecycle\", first on line 1"]
    );
    let found = refused("lifecycle:\n  preStop: {sleep: [}\n");
    assert!(found.len() == 1 && found[0].starts_with("hooks.yaml:2:"), "{found:?}");
}

#[test]
fn v_34_a_limit_beyond_the_grace_period_is_only_a_warning() {
    let text = "lifecycle: {preStop: {exec: {command: [a]}}}\nextensions: {policy: {preStop: {timeoutSeconds: 31}}}";
    assert_eq!(warnings(text), ["extensions.policy.preStop.timeoutSeconds: has no effect beyond the grace period"]);
    assert_eq!(warnings(&text.replace("31", "30")), Vec::<String>::new());
}

#[test]
fn v_35_a_pre_stop_without_grace_is_only_a_warning() {
    assert_eq!(
        warnings("terminationGracePeriodSeconds: 0\nlifecycle: {preStop: {exec: {command: [a]}}}"),
        ["terminationGracePeriodSeconds: 0: preStop will be skipped"]
    );
}

#[test]
fn s_26_a_stop_signal_that_ends_nothing_is_only_a_warning() {
    let found = warnings("lifecycle: {stopSignal: SIGWINCH}");
    assert!(found.len() == 1 && found[0].starts_with("lifecycle.stopSignal: SIGWINCH does not end"), "{found:?}");
}

#[test]
fn x_t02_a_tcp_hook_is_only_a_warning() {
    assert_eq!(
        warnings("lifecycle: {preStop: {tcpSocket: {port: 80}}}"),
        ["lifecycle.preStop.tcpSocket: tcpSocket hooks are accepted by the Kubernetes API but always fail at run time"]
    );
    // Kubernetes does not have the extensions.
    let extension = "extensions: {preStart: [{tcpSocket: {port: 80, host: db}}]}";
    assert_eq!(warnings(extension), Vec::<String>::new());
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let found =
        refused("terminationGracePeriodSeconds: x\nlifecycle: {postStart: {}, preStop: {httpGet: {}}, x: 1}\nports: 3");
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found.iter().all(|line| !line.contains('\n')));
}

#[test]
fn other_kinds_of_value_are_refused_by_name() {
    for text in ["- a", "x", "5", "lifecycle: []", "lifecycle: {preStop: x}", "extensions: {preStart: {}}", "ports: {}"]
    {
        assert!(from_lifecycle(text).is_err(), "{text}");
    }
    assert!(!from_lifecycle("").unwrap().plan.has_hooks());
}
