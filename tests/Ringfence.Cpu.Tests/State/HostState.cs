using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.State;

/// <summary>
/// Runs one instruction of the XSAVE family on the host, from a state given as an XSAVE area. 4 KiB each, 64-byte aligned: the state
/// before, the area that the instruction works on, the state after.
/// </summary>
internal sealed unsafe class HostState : IDisposable
{
    public const int AreaBytes = 4096;
    private const nuint Bytes = 5 * AreaBytes;
    private readonly byte* _page;

    /// <param name="instruction">With the operand [rsi].</param>
    /// <param name="wide">The state before is loaded with 64-bit x87 pointers.</param>
    /// <param name="components">Those that are loaded before and saved after.</param>
    public HostState(ReadOnlySpan<byte> instruction, bool wide, byte components)
    {
        _page = (byte*)mmap(null, Bytes, 7, 0x22, -1, 0);
        Assert.True(_page != (byte*)-1, "mmap failed");
        byte rex = wide ? (byte)0x48 : (byte)0x40;
        byte[] code =
        [
            0x49, 0x89, 0xC8,                           // mov r8, rcx
            0x49, 0x89, 0xD1,                           // mov r9, rdx
            0xB8, components, 0, 0, 0, 0x31, 0xD2,      // mov eax, components; xor edx, edx
            rex, 0x0F, 0xAE, 0x2F,                      // xrstor [rdi]
            0x44, 0x89, 0xC8, 0x31, 0xD2,               // mov eax, r9d; xor edx, edx
            .. instruction,
            0xB8, components, 0, 0, 0, 0x31, 0xD2,      // mov eax, components; xor edx, edx
            0x49, 0x0F, 0xAE, 0x20,                     // xsave64 [r8]
            0x49, 0x0F, 0xAE, 0xA8, 0, 0x10, 0, 0,      // xrstor64 [r8+4096]
            0xC3,
        ];
        code.CopyTo(new Span<byte>(_page, AreaBytes));
        *(ushort*)Initial = 0x37F;
        *(uint*)(Initial + 24) = 0x1F80;
    }

    /// <summary>Linux on x86-64 with XSAVE and AVX, all three instructions that save.</summary>
    public static bool IsAvailable => OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64
        && System.Runtime.Intrinsics.X86.Avx.IsSupported && (System.Runtime.Intrinsics.X86.X86Base.CpuId(0xD, 1).Eax & 3) == 3;

    public byte* Before => _page + AreaBytes;

    public byte* Area => _page + (2 * AreaBytes);

    /// <summary>What XSAVE64 makes of the state after the instruction.</summary>
    public byte* After => _page + (3 * AreaBytes);

    private byte* Initial => _page + (4 * AreaBytes);

    public void Run(uint mask) => ((delegate* unmanaged<byte*, byte*, ulong, byte*, void>)_page)(Before, Area, mask, After);

    public void Dispose() => _ = munmap(_page, Bytes);

    [DllImport("libc")]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(void* address, nuint length);
}
