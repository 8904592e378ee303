//! What a process can see of the container that it is in: a script for busybox's sh, and its output as facts.

use std::collections::HashMap;

use super::facts::{Facts, Place};

/// The first line of each part is `== NAME`.
pub const SCRIPT: &str = r#"
part() { printf '== %s\n' "$1"; }
see() { for f; do [ ! -e "$f" ] || echo "$f $(cat "$f" 2>&1)"; done; }
can_write() { if (: >> "$1") 2> /dev/null; then echo "$1 can be written"; else echo "$1 cannot be written"; fi; }
can_make() { if (: > "$1/.df") 2> /dev/null; then rm "$1/.df"; echo "$1 takes files"; else echo "$1 takes no files"; fi; }
me=/proc/$$
part environ; tr '\0' '\n' < $me/environ
part status; grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap...|Umask|SigBlk|SigIgn|Cpus_allowed_list|Mems_allowed_list|THP_enabled):' $me/status
part limits; sed 1d $me/limits
part cwd; echo "cwd $(readlink $me/cwd)"
part own; see /proc/self/oom_score_adj /proc/self/personality /proc/self/timens_offsets /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/timerslack_ns /proc/self/coredump_filter
part uts; see /proc/sys/kernel/hostname /proc/sys/kernel/domainname; echo "machine $(uname -m)"
part namespaces; for n in $me/ns/*; do echo "${n##*/} $(readlink $n)"; done
part mounts; cat $me/mountinfo
part cgroup; cat $me/cgroup
part fds; for n in $me/fd/*; do echo "${n##*/} is open"; done
part dev; find /dev ! -name .df | sort | while read -r n; do stat -c '%N %f %u:%g %t,%T' "$n"; done
part sysctl; see /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
part stat; awk '{ print "is_1", $1 == 1; print "leads_its_session", $6 == $1; print "leads_its_group", $5 == $1; print "tty", $7; print "nice", $19; print "realtime", $40; print "policy", $41 }' $me/stat
part io; echo "class $(ionice -p $$)"
part net; ip -o link | sed 's/^[0-9]*: //; s/qlen.*//'; ip -o -4 addr | sed 's/^[0-9]*: //'
part access; for d in / /dev /sys /sys/fs/cgroup /tmp /run; do can_make $d; done
for f in /proc/sys/kernel/hostname /proc/sys/vm/swappiness /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run /dev/null /etc/passwd; do can_write $f; done
part masked; for f in /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/scsi /sys/firmware; do
    if [ -d $f ]; then echo "$f holds $(ls -A $f | wc -l)"; elif [ -e $f ]; then echo "$f has $(head -c 1 $f 2> /dev/null | wc -c)"; else echo "$f is not there"; fi; done
part root; for n in $(ls -A /); do stat -c '%n %f %u:%g' /$n; done
part extra
"#;

/// The facts in the script's output.
pub fn read(output: &str, place: &Place, facts: &mut Facts) {
    let mut part = "";
    let mut mounted: HashMap<String, u32> = HashMap::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            part = name;
            continue;
        }
        let (key, value) = match part {
            "environ" => line.split_once('=').unwrap_or((line, "")),
            "limits" => line.split_at_checked(26).unwrap_or((line, "")),
            "mounts" => {
                let (key, value) = mount(line);
                let times = mounted.entry(key.clone()).or_default();
                *times += 1;
                let key = if *times > 1 { format!("{key}#{times}") } else { key };
                facts.add(&format!("mounts {key}"), place.normal(&value));
                continue;
            }
            // Those exist while a test of tests/cgroup.rs has them mounted.
            "cgroup" if line.contains("net_cls") => continue,
            "cgroup" => line.split_once(':').and_then(|(_, rest)| rest.split_once(':')).unwrap_or((line, "")),
            "namespaces" => {
                let (key, value) = line.split_once(' ').unwrap_or((line, ""));
                (key, place.namespace(key, value))
            }
            // 32 and 33 are the C library's own (nptl(7)), and Go's.
            "status" if line.starts_with("SigIgn") => {
                let (key, value) = line.split_once('\t').unwrap_or((line, ""));
                let mask = u64::from_str_radix(value, 16).unwrap_or_default() & !(3 << 31);
                facts.add(&format!("status {key}"), format!("{mask:x}"));
                continue;
            }
            "extra" => (line, ""),
            _ => line.split_once([' ', '\t']).unwrap_or((line, "")),
        };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        facts.add(&format!("{part} {}", place.normal(key.trim().trim_end_matches(':'))), place.normal(&value));
    }
}

/// A line of mountinfo (proc(5)) without the numbers that differ from mount to mount: the mount point and the rest.
fn mount(line: &str) -> (String, String) {
    let fields: Vec<&str> = line.split(' ').collect();
    let end = fields.iter().position(|field| *field == "-").expect("mountinfo has a separator");
    let propagation = fields[6..end].iter().map(|field| field.split(':').next().unwrap_or_default());
    let propagation: Vec<&str> = propagation.filter(|word| *word != "propagate_from").collect();
    let rest = [fields[3], fields[5], &propagation.join(","), &fields[end + 1..].join(" ")].join(" ");
    (fields[4].to_owned(), rest)
}
