using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>Between the guest's vector registers as the state has them and the host's own. <see cref="CpuState.VectorsLoaded"/> says how many are there.</summary>
internal sealed unsafe partial class Routines
{
    /// <summary>The host has sixteen, and MXCSR.</summary>
    public const int LegacyLoaded = 1;

    /// <summary>It has all thirty-two, and the opmasks.</summary>
    public const int AllLoaded = 2;

    /// <summary>Called when the guest's vector registers are wanted. Returns five bytes on if MXCSR has exceptions unmasked: the host must not
    /// meet them.</summary>
    public int LoadVectors { get; private set; }

    /// <summary>Likewise, when those of AVX-512 are wanted too.</summary>
    public int LoadAvx512 { get; private set; }

    private void WriteLoadVectors()
    {
        LoadVectors = _e.Position;
        Label refused = new();
        LoadLegacy(refused);
        _e.Byte(0xC3);
        _e.Bind(refused);
        ReturnFurther(0);
    }

    private void WriteLoadAvx512()
    {
        if (!_avx512)
        {
            return;
        }
        LoadAvx512 = _e.Position;
        Label refused = new();
        Label there = new();
        _e.CompareStateByte(StateOffsets.VectorsLoaded, LegacyLoaded);
        _e.Jump(Condition.Equal, there);
        LoadLegacy(refused);
        _e.Bind(there);
        _vectors.Avx512(false);
        SetLoaded(StateOffsets.VectorsLoaded, AllLoaded);
        _e.Byte(0xC3);
        _e.Bind(refused);
        ReturnFurther(0);
    }

    private void LoadLegacy(Label refused)
    {
        const int Masks = 0x1F80;
        _e.Load32(Host.Scratch, StateOffsets.Mxcsr);
        _e.Immediate(false, 4, Host.Scratch, Masks);
        _e.Immediate(false, 7, Host.Scratch, Masks);
        _e.Jump(Condition.NotEqual, refused);
        _e.Memory(false, 0x1AE, 3, Host.State, StateOffsets.HostMxcsr - Host.StateBias);
        _e.Memory(false, 0x1AE, 2, Host.State, StateOffsets.Mxcsr - Host.StateBias);
        _vectors.LoadLegacy();
        SetLoaded(StateOffsets.VectorsLoaded, LegacyLoaded);
    }

    /// <summary>As many as are loaded.</summary>
    private void MoveVectors(bool store)
    {
        if (store)
        {
            _vectors.MoveLegacy(true);
        }
        else
        {
            _vectors.LoadLegacy();
        }
        if (_avx512)
        {
            Label done = new();
            _e.CompareStateByte(StateOffsets.VectorsLoaded, AllLoaded);
            _e.Jump(Condition.NotEqual, done);
            _vectors.Avx512(store);
            _e.Bind(done);
        }
    }

    /// <summary>The guest's vector registers and MXCSR to the state, the host's MXCSR back.</summary>
    private void StoreVectors()
    {
        MoveVectors(true);
        _e.Memory(false, 0x1AE, 3, Host.State, StateOffsets.Mxcsr - Host.StateBias);
        _e.Memory(false, 0x1AE, 2, Host.State, StateOffsets.HostMxcsr - Host.StateBias);
        if (HostVectors.HasAvx)
        {
            // VZEROUPPER: without it SSE code of the host is slow on some processors.
            _e.Bytes([0xC5, 0xF8, 0x77]);
        }
    }
}
