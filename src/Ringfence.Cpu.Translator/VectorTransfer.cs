using System.Runtime.Intrinsics.X86;

namespace Ringfence.Cpu.Translator;

/// <summary>Writes the code that moves the guest's vector registers between the state and the host's.</summary>
internal sealed class VectorTransfer(Emitter emitter)
{
    private const int RegisterBytes = 64;
    private const int LegacyRegisters = 16;
    private const int AllRegisters = 32;
    private const int Opmasks = 8;

    private readonly Emitter _e = emitter;

    /// <summary>The first sixteen, as wide as the host has them: what VEX instructions make 0 goes up to bit 511.</summary>
    public void Legacy(bool store)
    {
        for (int i = 0; i < LegacyRegisters; i++)
        {
            int displacement = StateOffsets.Vectors + (i * RegisterBytes) - Host.StateBias;
            if (Avx512F.IsSupported)
            {
                Wide(i, store);
            }
            else if (Avx.IsSupported)
            {
                _e.Byte(0xC4);
                _e.Byte((i < 8 ? 0x80 : 0) | 0x41);
                _e.Byte(0x7C);
                _e.Byte(store ? 0x11 : 0x10);
                _e.Operand(i & 7, Host.State, displacement);
            }
            else
            {
                _e.Memory(false, store ? 0x111 : 0x110, i, Host.State, displacement);
            }
        }
    }

    /// <summary>ZMM16 to ZMM31 and the opmasks. Only where the host has them.</summary>
    public void Avx512(bool store)
    {
        for (int i = LegacyRegisters; i < AllRegisters; i++)
        {
            Wide(i, store);
        }
        for (int i = 0; i < Opmasks; i++)
        {
            // KMOVQ: VEX.L0.0F.W1.
            _e.Bytes([0xC4, 0xC1, 0xF8, (byte)(store ? 0x91 : 0x90)]);
            _e.Operand(i, Host.State, StateOffsets.Opmasks + (i * sizeof(ulong)) - Host.StateBias);
        }
    }

    /// <summary>VMOVUPS, EVEX.512.0F.W0: its displacement of 32 bits counts bytes.</summary>
    private void Wide(int i, bool store)
    {
        int numbers = ((i & 8) == 0 ? 0x80 : 0) | ((i & 16) == 0 ? 0x10 : 0);
        _e.Bytes([0x62, (byte)(numbers | 0x41), 0x7C, 0x48, (byte)(store ? 0x11 : 0x10), (byte)(0x87 | ((i & 7) << 3))]);
        _e.Int32(StateOffsets.Vectors + (i * RegisterBytes) - Host.StateBias);
    }
}

/// <summary>Those of AVX-512.</summary>
internal static unsafe partial class StateOffsets
{
    private const int OperandAlignment = 64;

    public static int Opmasks { get; } = Of(Nowhere->Opmasks);

    /// <summary>Of the state, which begins at a page: 64 bytes at a multiple of 64.</summary>
    public static int Operand { get; } = (Of(Nowhere->Translated.Operand) + OperandAlignment - 1) & -OperandAlignment;
}
