namespace Ringfence.Host.Sandbox;

/// <summary>When a system call that a policy names is let through: always, or if one of its arguments, masked, is one of some values.</summary>
/// <param name="Argument">Which of its six arguments is looked at; its lower 32 bits count.</param>
/// <param name="Mask">The bits of it that matter.</param>
/// <param name="Allowed">Null: whatever it is.</param>
internal sealed record SystemCallRule(SystemCall Call, int Argument = 0, uint Mask = 0, uint[]? Allowed = null);

/// <summary>
/// What threads may ask of the kernel. A policy lists what is allowed; all else is refused with EPERM, and what takes its arguments in memory, where a filter cannot look, is
/// said not to exist (ENOSYS), so that callers use the older call.
/// </summary>
internal sealed class SandboxPolicy
{
    private const uint KvmIoctls = 0xAE00;
    private const uint TerminalGet = 0x5401;
    private const uint TerminalSet = 0x5402;
    private const uint TerminalSetDrain = 0x5403;
    private const uint TerminalSetFlush = 0x5404;
    private const uint TerminalGroup = 0x540F;
    private const uint TerminalSize = 0x5413;
    private const uint BytesToRead = 0x541B;
    private const uint CloneThread = 0x1_0000;
    /// <summary>O_WRONLY, O_RDWR, O_CREAT, O_TRUNC.</summary>
    private const uint OpenToWrite = 3 | 0x40 | 0x200;
    private const uint SetName = 15;
    private const uint GetName = 16;
    private const uint SetVma = 0x5356_4D41;
    private const uint NoNewPrivileges = 38;

    private SandboxPolicy(IReadOnlyList<SystemCallRule> rules) => Rules = rules;

    public IReadOnlyList<SystemCallRule> Rules { get; }

    /// <summary>Calls that are said not to exist.</summary>
    public static IReadOnlyList<SystemCall> Missing { get; } = [SystemCall.Clone3, SystemCall.Openat2];

    /// <summary>What a vCPU's thread does, and the runtime under it: memory, locks, time, descriptors that are open, KVM, reading files. No new file to write, no
    /// program, no process, no socket.</summary>
    /// <param name="process">Ours: signals go to our own threads only.</param>
    public static SandboxPolicy Vcpu(int process) => new([
        .. Common(process), new(SystemCall.Openat, 2, OpenToWrite, [0]), new(SystemCall.Open, 1, OpenToWrite, [0]),
    ]);

    /// <summary>What all other threads do besides: files of ours are written, renamed and removed, and a debugger is let in at a door that was opened before.</summary>
    public static SandboxPolicy Process(int process) => new([
        .. Common(process), .. Always(
            SystemCall.Openat, SystemCall.Open, SystemCall.Rename, SystemCall.Renameat, SystemCall.Renameat2, SystemCall.Unlink, SystemCall.Unlinkat, SystemCall.Mkdir,
            SystemCall.Mkdirat, SystemCall.Ftruncate, SystemCall.Fchmod, SystemCall.Flock, SystemCall.Fsync, SystemCall.Fdatasync, SystemCall.Umask, SystemCall.Accept4,
            SystemCall.Setsockopt, SystemCall.Getsockopt, SystemCall.Getpeername, SystemCall.Seccomp),
    ]);

    private static IEnumerable<SystemCallRule> Common(int process) =>
    [
        .. Always(
            SystemCall.Ppoll, SystemCall.Futex, SystemCall.Read, SystemCall.Write, SystemCall.Mprotect, SystemCall.Mmap, SystemCall.Munmap, SystemCall.Madvise,
            SystemCall.SchedYield, SystemCall.TimerfdSettime, SystemCall.ClockGettime, SystemCall.ClockNanosleep, SystemCall.Nanosleep, SystemCall.ClockGetres,
            SystemCall.Poll, SystemCall.Readv, SystemCall.Writev, SystemCall.Pread64, SystemCall.Pwrite64, SystemCall.Lseek, SystemCall.Close, SystemCall.Fcntl,
            SystemCall.Fstat, SystemCall.Stat, SystemCall.Lstat, SystemCall.Newfstatat, SystemCall.Statx, SystemCall.Access, SystemCall.Faccessat, SystemCall.Faccessat2,
            SystemCall.Readlink, SystemCall.Readlinkat, SystemCall.Getdents64, SystemCall.Getcwd, SystemCall.Statfs, SystemCall.Fstatfs, SystemCall.Fadvise64,
            SystemCall.Mremap, SystemCall.Msync, SystemCall.Brk, SystemCall.Membarrier, SystemCall.MemfdCreate, SystemCall.GetMempolicy, SystemCall.Rseq,
            SystemCall.SetRobustList, SystemCall.Sigaltstack, SystemCall.RtSigaction, SystemCall.RtSigprocmask, SystemCall.RtSigreturn, SystemCall.RestartSyscall,
            SystemCall.Exit, SystemCall.ExitGroup, SystemCall.Gettid, SystemCall.Getpid, SystemCall.Getuid, SystemCall.Geteuid, SystemCall.Getgid, SystemCall.Getegid,
            SystemCall.Getsid, SystemCall.Getrusage, SystemCall.Sysinfo, SystemCall.Uname, SystemCall.Getcpu, SystemCall.Getrandom, SystemCall.SchedGetaffinity,
            SystemCall.SchedSetaffinity, SystemCall.SchedSetscheduler, SystemCall.SchedSetparam,
            SystemCall.SchedGetparam, SystemCall.SchedGetscheduler, SystemCall.SchedGetPriorityMax, SystemCall.SchedGetPriorityMin, SystemCall.Eventfd2,
            SystemCall.TimerfdCreate, SystemCall.Pipe2, SystemCall.Dup3, SystemCall.EpollCreate1, SystemCall.EpollCtl, SystemCall.EpollWait, SystemCall.EpollPwait,
            SystemCall.Sendto, SystemCall.Recvfrom, SystemCall.Sendmsg, SystemCall.Recvmsg, SystemCall.Shutdown, SystemCall.Getsockname),
        // KVM, and of a terminal its modes: never what puts characters into its input.
        new(SystemCall.Ioctl, 1, 0xFF00, [KvmIoctls]),
        new(SystemCall.Ioctl, 1, uint.MaxValue, [TerminalGet, TerminalSet, TerminalSetDrain, TerminalSetFlush, TerminalGroup, TerminalSize, BytesToRead]),
        new(SystemCall.Clone, 0, CloneThread, [CloneThread]),
        new(SystemCall.Tgkill, 0, uint.MaxValue, [(uint)process]),
        new(SystemCall.Prlimit64, 0, uint.MaxValue, [0, (uint)process]),
        new(SystemCall.Prctl, 0, uint.MaxValue, [SetName, GetName, SetVma, NoNewPrivileges]),
    ];

    private static IEnumerable<SystemCallRule> Always(params SystemCall[] calls) => calls.Select(call => new SystemCallRule(call));
}
