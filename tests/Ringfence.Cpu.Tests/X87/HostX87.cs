using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>
/// Runs single instructions on the host's own x87: FRSTOR the given image, the instruction, FNSAVE over the image. FNSAVE does not wait, so
/// unmasked exceptions show in the image and are never delivered; and it leaves the unit initialized.
/// </summary>
internal sealed unsafe class HostX87 : IDisposable
{
    private const nuint PageSize = 4096;
    private readonly byte* _code;

    /// <param name="instruction">Its bytes; a memory operand is [rsi].</param>
    public HostX87(ReadOnlySpan<byte> instruction)
    {
        _code = (byte*)mmap(null, PageSize, 3, 0x22, -1, 0);
        if (_code == (byte*)-1)
        {
            throw new InvalidOperationException("mmap failed");
        }
        byte[] thunk =
        [
            0xDD, 0x27,                         // frstor [rdi]
            0x52, 0x9D,                         // push rdx; popfq
            .. instruction,
            0x9C, 0x58,                         // pushfq; pop rax
            0xDD, 0x37,                         // fnsave [rdi]
            0xFC, 0xC3,                         // cld; ret
        ];
        thunk.CopyTo(new Span<byte>(_code, thunk.Length));
        if (mprotect(_code, PageSize, 5) != 0)
        {
            throw new InvalidOperationException("mprotect failed");
        }
    }

    public static bool IsAvailable => RuntimeInformation.ProcessArchitecture == Architecture.X64 && OperatingSystem.IsLinux();

    /// <summary>The image is 108 bytes, in the 32-bit protected-mode layout. Returns RFLAGS.</summary>
    public ulong Run(byte* image, byte* memory, ulong rflags) =>
        ((delegate* unmanaged<byte*, byte*, ulong, ulong>)_code)(image, memory, rflags);

    public void Dispose() => _ = munmap(_code, PageSize);

    [DllImport("libc", SetLastError = true)]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern int mprotect(void* address, nuint length, int protection);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(void* address, nuint length);
}
