using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Runs one instruction on the host processor, from an image of its AVX-512 state and back into it.</summary>
internal sealed unsafe class WideThunk : IDisposable
{
    private const int CodeBytes = 8192;
    private readonly byte* _code = (byte*)mmap(null, CodeBytes, 7, 0x22, -1, 0);
    private readonly List<byte> _bytes = [];

    /// <param name="instruction">Not relative to RIP, and without RSP, RDI and R15.</param>
    public void Compile(ReadOnlySpan<byte> instruction)
    {
        _bytes.Clear();
        // push rbx, rbp, r12-r15; the image stays in r15.
        Emit(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xFF);
        Control(3, WideImage.HostMxcsrOffset);
        Vectors(false);
        Emit(0x41, 0xFF, 0xB7);
        Offset(WideImage.FlagsOffset);
        Emit(0x9D);
        General(0x8B);
        Control(2, WideImage.MxcsrOffset);
        _bytes.AddRange(instruction);
        Control(3, WideImage.MxcsrOffset);
        Control(2, WideImage.HostMxcsrOffset);
        General(0x89);
        Emit(0x9C, 0x41, 0x8F, 0x87);
        Offset(WideImage.FlagsOffset);
        Vectors(true);
        // vzeroupper; pop what was pushed; ret
        Emit(0xC5, 0xF8, 0x77, 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3);
        CollectionsMarshal.AsSpan(_bytes).CopyTo(new Span<byte>(_code, CodeBytes));
    }

    public void Run(WideImage* image) => ((delegate* unmanaged<WideImage*, void>)_code)(image);

    public void Dispose() => _ = munmap(_code, CodeBytes);

    private void Emit(params ReadOnlySpan<byte> bytes) => _bytes.AddRange(bytes);

    private void Offset(int value) => _bytes.AddRange(BitConverter.GetBytes(value));

    /// <summary>LDMXCSR (2), STMXCSR (3).</summary>
    private void Control(int which, int offset)
    {
        Emit(0x41, 0x0F, 0xAE, (byte)(0x87 | (which << 3)));
        Offset(offset);
    }

    private void General(byte opcode)
    {
        for (int i = 0; i < 15; i++)
        {
            if (i != 4)
            {
                Emit((byte)(i < 8 ? 0x49 : 0x4D), opcode, (byte)(0x87 | ((i & 7) << 3)));
                Offset(WideImage.GprOffset + (8 * i));
            }
        }
    }

    private void Vectors(bool store)
    {
        for (int i = 0; i < 32; i++)
        {
            // vmovups zmmI, [r15 + ..]
            Emit(0x62, (byte)(0x41 | ((i & 8) == 0 ? 0x80 : 0) | ((i & 16) == 0 ? 0x10 : 0)), 0x7C, 0x48, (byte)(store ? 0x11 : 0x10), (byte)(0x87 | ((i & 7) << 3)));
            Offset(64 * i);
        }
        for (int i = 0; i < 8; i++)
        {
            // kmovq kI, [r15 + ..]
            Emit(0xC4, 0xC1, 0xF8, (byte)(store ? 0x91 : 0x90), (byte)(0x87 | (i << 3)));
            Offset(WideImage.OpmaskOffset + (8 * i));
        }
    }

    [DllImport("libc")]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(void* address, nuint length);
}
