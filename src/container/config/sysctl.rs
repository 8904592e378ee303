//! `linux.sysctl`: settings of the kernel that a namespace of the container's has for itself.

use super::Check;

/// Sysctls that belong to the IPC namespace, besides `fs.mqueue.*` (sysctl(5), ipc_namespaces(7)).
const IPC_SYSCTLS: [&str; 11] = [
    "kernel.auto_msgmni",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg_next_id",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

impl Check<'_> {
    /// threats.md S14: a sysctl that is not of a namespace of the container's would be the host's.
    pub(super) fn sysctl(&mut self) {
        let Some(settings) = self.get("linux.sysctl").as_object() else { return };
        for (name, value) in settings {
            let field = format!("linux.sysctl.{}", name.escape_debug());
            let dotted = name.replace('/', ".");
            let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
            if name.is_empty() || !name.chars().all(legal) || dotted.split('.').any(str::is_empty) {
                self.problem(&field, "not the name of a sysctl");
                continue;
            }
            if value.as_str().is_some_and(|value| value.contains('\n')) {
                self.problem(&field, "the value holds a newline");
            }
            let namespace = match dotted.as_str() {
                "kernel.domainname" | "kernel.hostname" => "uts",
                ipc if IPC_SYSCTLS.contains(&ipc) || ipc == "kernel.shm_rmid_forced" => "ipc",
                mqueue if mqueue.starts_with("fs.mqueue.") => "ipc",
                net if net.starts_with("net.") => "network",
                _ => {
                    self.problem(&field, "belongs to no namespace of the container: it would change the host");
                    continue;
                }
            };
            if !self.has_namespace(namespace) {
                let article = if namespace == "ipc" { "an" } else { "a" };
                self.problem(
                    &field,
                    format!("would change the host; add {article} {namespace} namespace or remove it"),
                );
            }
            let given = self.text("domainname");
            if dotted == "kernel.hostname" {
                self.problem(&field, "has a field of its own: use hostname");
            } else if dotted == "kernel.domainname" && !given.is_empty() && value.as_str() != Some(given) {
                self.problem(&field, format!("{value} contradicts domainname {given:?}"));
            }
        }
    }
}
