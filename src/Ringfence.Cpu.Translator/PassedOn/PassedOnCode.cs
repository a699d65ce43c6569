using Ringfence.Cpu.State;
using Ringfence.Host;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Host code for single instructions. Each is written once when it first runs, and again when memory for all of them was full since.
/// </summary>
internal sealed unsafe class PassedOnCode : IDisposable
{
    private const int MemoryBytes = 256 << 10;
    private const int ReturnBytes = 1;

    private readonly CodeMemory _memory = new(MemoryBytes);
    private readonly Emitter _e;
    private readonly delegate* unmanaged<CpuState*, nint, void> _run;
    private readonly int _start;
    private uint _generation = 1;

    public PassedOnCode()
    {
        _e = new Emitter(_memory);
        _run = (delegate* unmanaged<CpuState*, nint, void>)_e.Address(0);
        WriteRun();
        _start = _e.Position;
    }

    /// <summary>Executes an instruction with the state's vector registers, opmasks and MXCSR, whose exceptions must be masked. RAX is
    /// <see cref="TranslatedState.Spill"/>; the arithmetic flags are left in <see cref="CpuState.HostFlags"/>.</summary>
    public void Run(CpuState* s, PassedOnInstruction* instruction)
    {
        if (instruction->Generation != _generation)
        {
            Write(instruction);
        }
        _run(s, (nint)_e.Address(instruction->Place));
    }

    public void Dispose() => _memory.Dispose();

    private void Write(PassedOnInstruction* instruction)
    {
        if (_e.Position + instruction->CodeBytes + ReturnBytes > _memory.Size)
        {
            _e.Position = _start;
            _generation++;
        }
        instruction->Place = _e.Position;
        instruction->Generation = _generation;
        _e.Bytes(new ReadOnlySpan<byte>(instruction->Code, instruction->CodeBytes));
        _e.Byte(0xC3);
    }

    /// <summary>(state, address)</summary>
    private void WriteRun()
    {
        var vectors = new VectorTransfer(_e);
        _e.Push(Host.State);
        _e.LoadAddress(true, Host.State, Host.Rdi, Host.StateBias);
        LoadControl(StateOffsets.HostMxcsr, StateOffsets.Mxcsr);
        vectors.MoveLegacy(false);
        vectors.Avx512(false);
        _e.Load(Host.Rax, StateOffsets.Spill);
        _e.Register(false, 0xFF, 2, Host.Rsi);
        _e.Store(StateOffsets.Spill, Host.Rax);
        // LAHF, SETO AL.
        _e.Bytes([0x9F, 0x0F, 0x90, 0xC0]);
        _e.Byte(0x66);
        _e.Memory(false, 0x89, Host.Rax, Host.State, StateOffsets.HostFlags - Host.StateBias);
        vectors.MoveLegacy(true);
        vectors.Avx512(true);
        LoadControl(StateOffsets.Mxcsr, StateOffsets.HostMxcsr);
        // VZEROUPPER.
        _e.Bytes([0xC5, 0xF8, 0x77]);
        _e.Pop(Host.State);
        _e.Byte(0xC3);
    }

    /// <summary>STMXCSR of the present one, LDMXCSR of the other.</summary>
    private void LoadControl(int present, int other)
    {
        _e.Memory(false, 0x1AE, 3, Host.State, present - Host.StateBias);
        _e.Memory(false, 0x1AE, 2, Host.State, other - Host.StateBias);
    }
}
