# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Booting the VM: from a directory of files and a command to an exit status and a kernel log.

source "${BASH_SOURCE[0]%/*}/initramfs.sh"

# What in a kernel log is a failure, whatever came of the command.
readonly complaints='\bBUG\b|WARNING|Oops|general protection|[Kk]ernel panic|unable to handle'\
'|INFO: (rcu|task|possible|trying|lockdep)|possible (circular|recursive|irq|deadlock)|suspicious RCU'\
'|rcu:.*(stall|starved)|soft lockup|hard LOCKUP|blocked for more than|refcount_t|KASAN|KFENCE|KCSAN|UBSAN'\
'|kmemleak: [0-9]|sleeping function called|scheduling while atomic|unregister_netdevice: waiting'\
'|page allocation failure|Out of memory|oom-kill'

# boot RUN_DIR LOG TIMEOUT QEMU_OPTION...: boot with what lies in RUN_DIR/tree on top of the
# initramfs, in particular /vm/command and /vm/match (see guest-init). The command's output goes to
# stdout, the kernel's console to LOG. Returns the command's status, or 125 where the VM went wrong.
boot() {
    local run=$1 log=$2 timeout=$3 qemu tail timer status hung=''
    shift 3
    { cat "$initramfs" && pack "$run/tree"; } >"$run/initrd"
    touch "$run/output" "$run/status" "$log"
    mkfifo "$run/monitor.in" "$run/monitor.out"

    exec_in_root --bind "$run:/out" --bind "${log%/*}:/mnt" --bind-ro "$kernel_dir/installed:/kernel" -- \
        qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -machine q35 -bios qboot.rom "$@" \
        -kernel /kernel/vmlinux -initrd /out/initrd -append "$(kernel_command_line)" \
        -chardev "file,id=console,path=/mnt/${log##*/}" -serial chardev:console \
        -chardev pipe,id=monitor,path=/out/monitor -mon chardev=monitor \
        -chardev file,id=output,path=/out/output -chardev file,id=status,path=/out/status \
        -device virtio-serial-pci,ioeventfd=off \
        -device virtserialport,chardev=output -device virtserialport,chardev=status \
        </dev/null >"$run/qemu.log" 2>&1 &
    qemu=$!
    # QEMU writes to a file and never waits for whoever reads here: in the guest, that would look
    # like a lockup. Without ioeventfd, what the guest has written has arrived.
    setpriv --pdeathsig KILL tail --bytes +1 --follow --sleep-interval 0.1 --pid "$qemu" "$run/output" &
    tail=$!
    setpriv --pdeathsig KILL sleep "$timeout" &
    timer=$!

    status=0
    wait -n "$qemu" "$timer" || status=$?
    if kill "$timer" 2>/dev/null; then
        wait "$timer" || true
    else
        hung=$(wc -l <"$log")
        stop_hung "$run" "$qemu"
    fi
    wait "$tail" || true

    if [[ $hung ]]; then
        vm_failed "$log" "the VM did not end within $timeout s" "$hung"
    elif ((status != 0)); then
        vm_failed "$log" "QEMU failed: $(tail -n 5 "$run/qemu.log")"
    fi
    status=$(<"$run/status")
    if [[ $status == load ]]; then
        vm_failed "$log" "the match could not be loaded"
    elif [[ ! $status ]]; then
        vm_failed "$log" "the VM ended before the command did"
    elif grep -qE "$complaints" "$log"; then
        vm_failed "$log" "the kernel complained"
    fi
    return "$status"
}

# stop_hung RUN_DIR QEMU: end a VM that does not end by itself, after having its kernel say what all
# CPUs and all blocked tasks are doing.
stop_hung() {
    local command
    for command in 'sendkey alt-sysrq-l' 'sendkey alt-sysrq-w' quit; do
        # Opened for reading too, as otherwise this would wait for a QEMU that is gone.
        printf '%s\n' "$command" 1<>"$1/monitor.in"
        sleep 2
    done
    kill -KILL "$2" 2>/dev/null || true
    wait "$2" || true
}

# vm_failed LOG REASON [LINE]: give up, with what the log says about it. From LINE on it holds what
# stop_hung had the kernel say.
vm_failed() {
    local log=$1 reason=$2 before
    before=$(head -n "${3:--0}" "$log")
    if grep -qE "$complaints" <<<"$before"; then
        say "$reason; the kernel's log says:"
        grep -m 4 -A 25 -E "$complaints" <<<"$before" | head -n 80 >&2
    elif [[ ${3:-} ]]; then
        say "$reason; asked what it was doing, the kernel said:"
        tail -n "+$(($3 + 1))" "$log" | head -n 100 >&2
    else
        say "$reason; the kernel's log ends:"
        tail -n 25 "$log" >&2
    fi
    exit 125
}

# choose_cpu CPUS ICOUNT: sets cpu_options, for QEMU, by what this machine's CPU offers. /dev/kvm
# alone proves nothing: there are machines where it is there and no ordinary guest boots on it.
choose_cpu() {
    # What costs an emulated CPU time and is not what is tested here: a fifth level of page tables,
    # and opening and closing user memory around each access.
    local emulated=max,la57=off,smap=off
    if [[ $2 ]]; then
        # This clock jumps from timer to timer, and those of an HPET are many.
        cpu_options=(-machine hpet=off -accel tcg -cpu "$emulated" -icount 'shift=0,sleep=off' -smp 1)
    elif grep -qwE 'vmx|svm' /proc/cpuinfo && [[ -r /dev/kvm && -w /dev/kvm ]]; then
        cpu_options=(-accel kvm -cpu host -smp "$1")
    else
        cpu_options=(-accel tcg -cpu "$emulated" -smp "$1")
    fi
}

# kernel_command_line: of one that loads signed modules only, with lockdown set.
kernel_command_line() {
    local options=(
        console=ttyS0 panic=-1
        # Everything into the log, and whatever tests write to /dev/kmsg.
        ignore_loglevel printk.devkmsg=on
        # For stop_hung.
        sysrq_always_enabled
        # What an emulated CPU would spend seconds on: self-tests of the kernel's cryptography,
        # checking and calibrating clocks (lpj is that of a 5 GHz CPU: delays come out too long at
        # worst), clearing memory, mitigations.
        cryptomgr.notests=1 tsc=reliable no_timer_check lpj=20000000 init_on_alloc=0 mitigations=off audit=0
        # Statistics that wake a CPU every 5 ms.
        damon_stat.enabled=N
    )
    if [[ ${lockdown-} ]]; then
        options+=(lockdown=integrity)
    else
        # Without the distribution's keys no module's signature is computed.
        options+=(initcall_blacklist=load_system_certificate_list)
    fi
    printf '%s' "${options[*]}"
}
