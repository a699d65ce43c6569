namespace Ringfence.Engine.Kvm.Native;

/// <summary>Requests of ioctl(2), by descriptor: numbers as linux/kvm.h makes them of direction, size and ordinal.</summary>
internal enum KvmRequest : uint
{
    // /dev/kvm
    GetApiVersion = 0xAE00,
    CreateVm = 0xAE01,
    CheckExtension = 0xAE03,
    GetRunSize = 0xAE04,
    GetSupportedCpuid = 0xC008_AE05,

    // A virtual machine
    CreateVcpu = 0xAE41,
    SetMemoryRegion = 0x4020_AE46,
    SetTssAddress = 0xAE47,
    SetIdentityMapAddress = 0x4008_AE48,
    EnableCapability = 0x4068_AEA3,
    SetMsrFilter = 0x4188_AEC6,
    GetDirtyLog = 0x4010_AE42,
    CreateIrqChip = 0xAE60,
    IrqLine = 0x4008_AE61,
    GetIrqChip = 0xC208_AE62,
    SetIrqChip = 0x8208_AE63,
    SetGsiRouting = 0x4008_AE6A,
    IrqFd = 0x4020_AE76,
    IoEventFd = 0x4040_AE79,
    SignalMsi = 0x4020_AEA5,

    // A vCPU
    Run = 0xAE80,
    GetRegisters = 0x8090_AE81,
    SetRegisters = 0x4090_AE82,
    GetSystemRegisters = 0x8138_AE83,
    Interrupt = 0x4004_AE86,
    GetMsrs = 0xC008_AE88,
    SetMsrs = 0x4008_AE89,
    GetLocalApic = 0x8400_AE8E,
    SetLocalApic = 0x4400_AE8F,
    SetCpuid = 0x4008_AE90,
    GetActivity = 0x8004_AE98,
    SetActivity = 0x4004_AE99,
    Nmi = 0xAE9A,
    GetEvents = 0x8040_AE9F,
    SetEvents = 0x4040_AEA0,
    GetDebugRegisters = 0x8080_AEA1,
    SetDebugRegisters = 0x4080_AEA2,
    SetTscKilohertz = 0xAEA2,
    GetTscKilohertz = 0xAEA3,
    GetXsave = 0x9000_AEA4,
    SetXsave = 0x5000_AEA5,
    GetXcrs = 0x8188_AEA6,
    SetXcrs = 0x4188_AEA7,
    GetSystemRegisters2 = 0x8140_AECC,
    SetSystemRegisters2 = 0x4140_AECD,
    SetAttribute = 0x4018_AEE1,
    GetAttribute = 0x4018_AEE2,
}

/// <summary>Capabilities that we ask for, by number.</summary>
internal enum KvmCapability : uint
{
    IrqChip = 0,
    UserMemory = 3,
    ExtendedCpuid = 7,
    Activity = 14,
    Nmi = 22,
    IrqRouting = 25,
    IrqFd = 32,
    IoEventFd = 36,
    VcpuEvents = 41,
    DebugRegisters = 50,
    Xsave = 55,
    Xcrs = 56,
    TscControl = 60,
    MaximumVcpus = 66,
    SyncRegisters = 74,
    SignalMsi = 77,
    ReadOnlyMemory = 81,
    SplitIrqChip = 121,
    VcpuAttributes = 127,
    ImmediateExit = 136,
    UserSpaceMsr = 188,
    MsrFilter = 189,
    SystemRegisters2 = 200,
    ExitOnEmulationFailure = 204,
    Xsave2 = 208,
}

/// <summary>Why KVM_RUN came back.</summary>
internal enum KvmExitReason : uint
{
    Unknown = 0,
    Exception = 1,
    Port = 2,
    Debug = 4,
    Halt = 5,
    Memory = 6,
    InterruptWindow = 7,
    Shutdown = 8,
    FailedEntry = 9,
    Interrupted = 10,
    TaskPriority = 11,
    InternalError = 17,
    SystemEvent = 24,
    EndOfInterrupt = 26,
    MsrRead = 29,
    MsrWrite = 30,
}
