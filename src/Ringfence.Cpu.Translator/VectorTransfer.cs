using Ringfence.Host;

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
    public void MoveLegacy(bool store)
    {
        for (int i = 0; i < LegacyRegisters; i++)
        {
            Move(i, store);
        }
    }

    /// <summary>Loads the first sixteen such that host registers of whose upper parts all are zero are known to be so: while one is not, an instruction that
    /// writes only the low 128 bits waits for what was in the register before.</summary>
    public void LoadLegacy()
    {
        if (!HostVectors.HasAvx)
        {
            MoveLegacy(false);
            return;
        }
        Label wide = new();
        Label loaded = new();
        TestUpper();
        _e.Jump(Condition.NotEqual, wide);
        // VZEROUPPER.
        _e.Bytes([0xC5, 0xF8, 0x77]);
        for (int i = 0; i < LegacyRegisters; i++)
        {
            _e.Memory(false, 0x110, i, Host.State, Displacement(i));
        }
        _e.Jump(loaded);
        _e.Bind(wide);
        MoveLegacy(false);
        _e.Bind(loaded);
    }

    /// <summary>Leaves "equal" if the state's first sixteen have nothing above bit 127. <see cref="Host.Scratch"/> and some of the host's vector registers are
    /// lost.</summary>
    private void TestUpper()
    {
        Move(0, false);
        if (HostVectors.HasAvx512)
        {
            for (int i = 1; i < LegacyRegisters; i++)
            {
                // VPORQ zmm0, zmm0, [...]: EVEX.512.66.0F.W1 EB.
                _e.Bytes([0x62, 0xD1, 0xFD, 0x48, 0xEB, 0x87]);
                _e.Int32(Displacement(i));
            }
            // VPTESTMQ k1, zmm0, zmm0; KMOVW r13d, k1; TEST r13b, of all quadwords but two.
            _e.Bytes([0x62, 0xF2, 0xFD, 0x48, 0x27, 0xC8]);
            _e.Bytes([0xC5, 0x78, 0x93, 0xE9]);
            _e.Bytes([0x41, 0xF6, 0xC5, 0xFC]);
            return;
        }
        for (int i = 1; i < LegacyRegisters; i++)
        {
            // VORPS ymm0, ymm0, [...].
            _e.Bytes([0xC4, 0xC1, 0x7C, 0x56, 0x87]);
            _e.Int32(Displacement(i));
        }
        // VEXTRACTF128 xmm0, ymm0, 1; VPTEST xmm0, xmm0.
        _e.Bytes([0xC4, 0xE3, 0x7D, 0x19, 0xC0, 0x01]);
        _e.Bytes([0xC4, 0xE2, 0x79, 0x17, 0xC0]);
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

    private static int Displacement(int i) => StateOffsets.Vectors + (i * RegisterBytes) - Host.StateBias;

    private void Move(int i, bool store)
    {
        if (HostVectors.HasAvx512)
        {
            Wide(i, store);
        }
        else if (HostVectors.HasAvx)
        {
            _e.Byte(0xC4);
            _e.Byte((i < 8 ? 0x80 : 0) | 0x41);
            _e.Byte(0x7C);
            _e.Byte(store ? 0x11 : 0x10);
            _e.Operand(i & 7, Host.State, Displacement(i));
        }
        else
        {
            _e.Memory(false, store ? 0x111 : 0x110, i, Host.State, Displacement(i));
        }
    }

    /// <summary>VMOVUPS, EVEX.512.0F.W0: its displacement of 32 bits counts bytes.</summary>
    private void Wide(int i, bool store)
    {
        int numbers = ((i & 8) == 0 ? 0x80 : 0) | ((i & 16) == 0 ? 0x10 : 0);
        _e.Bytes([0x62, (byte)(numbers | 0x41), 0x7C, 0x48, (byte)(store ? 0x11 : 0x10), (byte)(0x87 | ((i & 7) << 3))]);
        _e.Int32(Displacement(i));
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
