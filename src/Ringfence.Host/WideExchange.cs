using System.Runtime.Intrinsics.X86;

namespace Ringfence.Host;

/// <summary>
/// The host's atomic compare-and-exchange of 16 bytes, which .NET has no door to: a few bytes of machine code around LOCK CMPXCHG16B.
/// Only on x86-64 hosts that have it and let a process make code of its own.
/// </summary>
public static unsafe class WideExchange
{
    /// <summary>In: RDI the memory, RSI what is expected there, RDX the replacement. What was there is left where RSI points to.</summary>
    private static ReadOnlySpan<byte> Code =>
    [
        0x53,                               // push rbx
        0x49, 0x89, 0xD0,                   // mov r8, rdx
        0x48, 0x8B, 0x06,                   // mov rax, [rsi]
        0x48, 0x8B, 0x56, 0x08,             // mov rdx, [rsi+8]
        0x49, 0x8B, 0x18,                   // mov rbx, [r8]
        0x49, 0x8B, 0x48, 0x08,             // mov rcx, [r8+8]
        0xF0, 0x48, 0x0F, 0xC7, 0x0F,       // lock cmpxchg16b [rdi]
        0x48, 0x89, 0x06,                   // mov [rsi], rax
        0x48, 0x89, 0x56, 0x08,             // mov [rsi+8], rdx
        0x5B,                               // pop rbx
        0xC3,                               // ret
    ];

    private static readonly delegate* unmanaged[SuppressGCTransition]<void*, void*, void*, void> Exchange = Make();

    public static bool IsSupported => Exchange != null;

    /// <summary>Writes <paramref name="replacement"/> if the memory holds <paramref name="expected"/>; returns what it held. Only if
    /// <see cref="IsSupported"/>.</summary>
    /// <param name="address">A multiple of 16 that may be read and written.</param>
    public static UInt128 CompareExchange(UInt128* address, UInt128 replacement, UInt128 expected)
    {
        Exchange(address, &expected, &replacement);
        return expected;
    }

    private static delegate* unmanaged[SuppressGCTransition]<void*, void*, void*, void> Make()
    {
        const int Cmpxchg16b = 1 << 13;
        if (!X86Base.X64.IsSupported || !OperatingSystem.IsLinux() || (X86Base.CpuId(1, 0).Ecx & Cmpxchg16b) == 0)
        {
            return null;
        }
        return (delegate* unmanaged[SuppressGCTransition]<void*, void*, void*, void>)LibC.MapCode(Code);
    }
}
