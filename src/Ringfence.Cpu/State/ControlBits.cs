namespace Ringfence.Cpu.State;

/// <summary>Bits of CR0, CR3, CR4, EFER and XCR0 (SDM 3A 2.5, 2.2.1; APM 2 3.1).</summary>
internal static class ControlBits
{
    public const ulong ProtectedMode = 1;
    public const ulong MonitorCoprocessor = 2;
    public const ulong Emulation = 4;
    public const ulong TaskSwitched = 8;
    public const ulong ExtensionType = 0x10;
    public const ulong NumericError = 0x20;
    public const ulong WriteProtect = 1 << 16;
    public const ulong AlignmentMask = 1 << 18;
    public const ulong NotWriteThrough = 1 << 29;
    public const ulong CacheDisable = 1 << 30;
    public const ulong Paging = 1UL << 31;
    public const ulong Cr0Defined = 0xE005_003F;

    public const ulong Virtual8086Extensions = 1;
    public const ulong ProtectedVirtualInterrupts = 2;
    public const ulong TimeStampDisable = 4;
    public const ulong DebugExtensions = 8;
    public const ulong PageSizeExtensions = 0x10;
    public const ulong Pae = 0x20;
    public const ulong MachineCheck = 0x40;
    public const ulong PageGlobal = 0x80;
    public const ulong PerformanceCounters = 0x100;
    public const ulong OsFxsr = 0x200;
    public const ulong OsXmmExceptions = 0x400;
    public const ulong Umip = 0x800;
    public const ulong La57 = 0x1000;
    public const ulong FsGsBase = 1 << 16;
    public const ulong Pcid = 1 << 17;
    public const ulong OsXsave = 1 << 18;
    public const ulong Smep = 1 << 20;
    public const ulong Smap = 1 << 21;
    public const ulong ProtectionKeys = 1 << 22;
    public const ulong SupervisorKeys = 1 << 24;
    public const ulong LamSupervisor = 1 << 28;

    /// <summary>The process-context identifier in CR3.</summary>
    public const ulong PcidMask = 0xFFF;
    public const ulong LamUser57 = 1UL << 61;
    public const ulong LamUser48 = 1UL << 62;
    public const ulong LamUser = LamUser48 | LamUser57;
    /// <summary>In what MOV writes to CR3: translations of the new address space are kept.</summary>
    public const ulong KeepTranslations = 1UL << 63;

    public const ulong SyscallEnable = 1;
    public const ulong LongModeEnable = 0x100;
    public const ulong LongModeActive = 0x400;
    public const ulong NxEnable = 0x800;

    /// <summary>SSE and AVX state in XCR0 (SDM 1 13.3).</summary>
    public const ulong Xcr0Avx = 6;

    /// <summary>What AVX-512 needs beyond: opmasks, upper halves, and ZMM16 to ZMM31 (SDM 1 13.3).</summary>
    public const ulong Xcr0Avx512 = 0xE0;
}
