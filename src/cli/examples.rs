//! What each verb's help and man page begins and ends with: lines to type, and exit codes (interface.md 2.4).

/// The groups of `bookend --help`, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Lifecycle,
    Runtime,
    SetUp,
}

impl Group {
    pub const ALL: [Group; 3] = [Group::Lifecycle, Group::Runtime, Group::SetUp];

    pub fn heading(self) -> &'static str {
        match self {
            Group::Lifecycle => "Hooks and lives of containers",
            Group::Runtime => "The OCI runtime, as runc's",
            Group::SetUp => "Set-up",
        }
    }
}

/// What is told of a verb beside its flags.
pub struct Page {
    pub verb: &'static str,
    pub group: Group,
    pub examples: &'static [Example],
    pub exit_codes: &'static str,
}

/// A command line, and what it does.
pub struct Example(pub &'static str, pub &'static str);

/// What somebody types who has just got bookend.
pub const FIRST: &[Example] = &[
    Example("bookend doctor", "can containers run here, and what is in the way"),
    Example(
        "bookend test pod.yaml --bundle /tmp/bundle",
        "what the hooks of a Pod do, in seconds and without a cluster",
    ),
];

const RUNTIME: &str = "0: done. 1: an error. 2: no such flag or argument.";
const OWN: &str = "The container's own, 128+N after signal N. 125: an error of bookend's. 126: the program is not \
                   executable. 127: there is no such program. 2: no such flag or argument.";

/// In the order of `bookend --help`.
pub const PAGES: &[Page] = &[
    Page {
        verb: "test",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend test pod.yaml --bundle /tmp/bundle", "every hook's verdict, and the life as a picture"),
            Example(
                "bookend test deploy.yaml --container web --image web.tar --grace 5",
                "one container of a workload, from its image, with a grace period of 5 s",
            ),
            Example(
                "bookend test pod.yaml --bundle /tmp/bundle --fault preStop=hang --junit report.xml",
                "what becomes of a stop when preStop hangs, for a CI",
            ),
        ],
        exit_codes: "0: all as expected. 1: a hook failed, or an expectation. 2: bad flags or input. 125: this machine cannot \
                     run containers.",
    },
    Page {
        verb: "check",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend check pod.yaml", "what would go wrong on Kubernetes, without running anything"),
            Example(
                "bookend check manifests/ --format github",
                "every file below a directory, as notes on a pull request",
            ),
        ],
        exit_codes: "0: nothing found. 1: findings. 2: a file cannot be read, or no such flag or argument.",
    },
    Page {
        verb: "hooks",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend hooks web", "what became of each hook of a container, also after it was deleted"),
            Example("bookend hooks --resolve pod.yaml", "which hooks a file gives, without a container"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "logs",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend logs web", "what the hooks of a container printed"),
            Example("bookend logs web --hook preStop --follow", "of one hook, as it comes"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "timeline",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend timeline web", "the life of a container so far, or the last one of this name"),
            Example("bookend timeline web --format json", "the same for programs"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "stop",
        group: Group::Lifecycle,
        examples: &[
            Example("bookend stop web", "preStop, the stop signal, SIGKILL when the grace period is over"),
            Example("bookend stop web --grace 5", "with 5 s for all of it"),
        ],
        exit_codes: "0: it is stopped. 1: an error. 2: no such flag or argument.",
    },
    Page {
        verb: "restart",
        group: Group::Lifecycle,
        examples: &[Example("bookend restart web", "the whole stop sequence, then a new life of the same container")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "wait",
        group: Group::Lifecycle,
        examples: &[Example("bookend wait web", "returns when the container is stopped, postStop included")],
        exit_codes: "The container's own, 128+N after signal N. 255: it cannot be known. 125: an error of bookend's. 2: no such \
                     flag or argument.",
    },
    Page {
        verb: "run",
        group: Group::Runtime,
        examples: &[
            Example("bookend run --bundle /tmp/bundle web", "until its process ends; SIGTERM begins the stop sequence"),
            Example(
                "bookend run --detach --pod pod.yaml --bundle /tmp/bundle web",
                "with the hooks of a Pod; returns when postStart has succeeded",
            ),
        ],
        exit_codes: OWN,
    },
    Page {
        verb: "create",
        group: Group::Runtime,
        examples: &[Example(
            "bookend create --bundle /tmp/bundle web",
            "all but the program, which `bookend start web` runs",
        )],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "start",
        group: Group::Runtime,
        examples: &[Example("bookend start web", "preStart, the program, postStart; returns when that has succeeded")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "state",
        group: Group::Runtime,
        examples: &[Example("bookend state web", "the OCI state as JSON, with the phase and the hooks")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "kill",
        group: Group::Runtime,
        examples: &[
            Example("bookend kill web", "begins the stop sequence and returns at once"),
            Example("bookend kill web HUP", "a signal that has nothing to do with hooks"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "delete",
        group: Group::Runtime,
        examples: &[
            Example("bookend delete web", "removes a stopped container; hooks and logs stay in the history"),
            Example("bookend delete --force web", "kills it first, and is content when there is none"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "exec",
        group: Group::Runtime,
        examples: &[
            Example("bookend exec web cat /etc/hosts", "one more process in a container"),
            Example("bookend exec --tty web sh", "with a terminal"),
        ],
        exit_codes: "The process's own, 128+N after signal N. 125: an error of bookend's. 126: the program is not executable. \
                     127: there is no such program. 2: no such flag or argument.",
    },
    Page {
        verb: "list",
        group: Group::Runtime,
        examples: &[
            Example("bookend list", "the containers of this state directory"),
            Example("bookend list --quiet", "their ids, for a loop of the shell"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "ps",
        group: Group::Runtime,
        examples: &[Example("bookend ps web", "the processes of a container, as ps(1) shows them")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "pause",
        group: Group::Runtime,
        examples: &[Example("bookend pause web", "freezes every process of it")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "resume",
        group: Group::Runtime,
        examples: &[Example("bookend resume web", "lets a paused container go on")],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "update",
        group: Group::Runtime,
        examples: &[
            Example("bookend update --memory 512m --pids-limit 200 web", "limits by flags"),
            Example("bookend update --resources limits.json web", "as linux.resources of a config.json"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "events",
        group: Group::Runtime,
        examples: &[
            Example("bookend events --stats web", "what a container uses now, as one line of JSON"),
            Example("bookend events --interval 1s web", "every second until it ends, and when it is out of memory"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "features",
        group: Group::Runtime,
        examples: &[Example(
            "bookend features",
            "what callers may ask of it: hooks, namespaces, mount options, filters",
        )],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "spec",
        group: Group::Runtime,
        examples: &[
            Example("bookend spec", "writes ./config.json"),
            Example("bookend spec --rootless --bundle /tmp/bundle", "one that the calling user can run"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "doctor",
        group: Group::SetUp,
        examples: &[
            Example("bookend doctor", "what this machine gives to this user, with the cure for what it does not"),
            Example("bookend doctor --format json", "the same for programs"),
        ],
        exit_codes: "0: containers can run here. 1: they cannot. 2: no such flag or argument.",
    },
    Page {
        verb: "config",
        group: Group::SetUp,
        examples: &[
            Example("bookend config podman", "the lines for containers.conf, with the path of this binary"),
            Example("bookend config containerd --containerd-version 2.1", "those that one containerd reads"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "completions",
        group: Group::SetUp,
        examples: &[
            Example("bookend completions bash", "source <(bookend completions bash) has them in this shell"),
            Example("bookend completions zsh", "for a file _bookend in a directory of $fpath"),
        ],
        exit_codes: RUNTIME,
    },
    Page {
        verb: "man",
        group: Group::SetUp,
        examples: &[Example("bookend man /usr/local/share/man/man1", "then: man bookend, man bookend-test")],
        exit_codes: RUNTIME,
    },
];

pub fn page(verb: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.verb == verb)
}
