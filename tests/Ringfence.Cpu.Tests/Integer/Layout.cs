using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>
/// Linear addresses that mean the same to the host and to the guest, so that addresses in registers, relative to RIP and absolute ones
/// agree. All lie below 2 GiB: displacements and 32-bit address size reach them. The pages around data and stack are not present.
/// </summary>
internal static class Layout
{
    public const ulong Base = 0x2000_0000;
    public const ulong Code = Base;
    public const ulong CodeBytes = 0x4_0000;

    /// <summary>Entry, exit and registers of the host's runs: absent in the guest.</summary>
    public const ulong HostOnly = Base + 0x8_0000;
    public const ulong Data = Base + 0x10_0000;
    public const ulong DataBytes = 0x3000;
    public const ulong Stack = Base + 0x11_0000;
    public const ulong StackBytes = 0x3000;
    public const ulong StackTop = Stack + 0x2800;
    public const ulong Span = 0x20_0000;
}

/// <summary>General registers and arithmetic flags before or after a run.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Registers
{
    public fixed ulong Gpr[16];
    public ulong Flags;
}

/// <summary>How a run ended: the linear address of the instruction that faulted and the exception, or neither.</summary>
internal readonly record struct Ending(ulong FaultRip, Trap Trap);

/// <summary>Exceptions, as far as the host's signals tell them apart.</summary>
internal enum Trap
{
    None,
    Divide,
    Memory,
    Other,
}
