using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>CPUID, where its answer is known.</summary>
internal sealed unsafe partial class Routines
{
    private const int AnswerShift = 5;

    /// <summary>Called: answers from <see cref="CpuidTable"/>, or returns five bytes on. Spoils both free registers.</summary>
    public int Cpuid { get; private set; }

    private void WriteCpuid()
    {
        Cpuid = _e.Position;
        Label unknown = new();
        // Where CpuidTable.At finds it.
        _e.Move32(Host.Scratch, Host.Rax);
        _e.Shift(false, 5, Host.Scratch, 28);
        _e.Register(false, 0x33, Host.Scratch, Host.Rax);
        _e.Memory(false, 0x8D, Host.Address, -1, Host.Rcx, 2, 0);
        _e.Register(false, 0x33, Host.Scratch, Host.Address);
        _e.Immediate(false, 4, Host.Scratch, CpuidTable.Entries - 1);
        _e.Shift(false, 4, Host.Scratch, AnswerShift);
        _e.Memory(true, 0x8D, Host.Scratch, Host.State, Host.Scratch, 0, StateOffsets.CpuidAnswers - Host.StateBias);
        _e.Memory(false, 0x83, 7, Host.Scratch, AnswerOffsets.IsKnown);
        _e.Byte(0);
        _e.Jump(Condition.Equal, unknown);
        _e.Memory(false, 0x3B, Host.Rax, Host.Scratch, AnswerOffsets.Leaf);
        _e.Jump(Condition.NotEqual, unknown);
        _e.Memory(false, 0x3B, Host.Rcx, Host.Scratch, AnswerOffsets.Subleaf);
        _e.Jump(Condition.NotEqual, unknown);
        foreach ((int now, int then) in StateOffsets.CpuidContext)
        {
            _e.Load(Host.Address, now);
            _e.WithState(0x3B, Host.Address, then);
            _e.Jump(Condition.NotEqual, unknown);
        }
        _e.Memory(true, 0xFF, 0, Host.State, StateOffsets.CpuidFound - Host.StateBias);
        _e.Memory(false, 0x8B, Host.Rax, Host.Scratch, AnswerOffsets.Eax);
        _e.Memory(false, 0x8B, Host.Rbx, Host.Scratch, AnswerOffsets.Ebx);
        _e.Memory(false, 0x8B, Host.Rcx, Host.Scratch, AnswerOffsets.Ecx);
        _e.Memory(false, 0x8B, Host.Rdx, Host.Scratch, AnswerOffsets.Edx);
        _e.Byte(0xC3);
        _e.Bind(unknown);
        ReturnFurther(0);
    }
}

internal static unsafe partial class StateOffsets
{
    public static int CpuidAnswers { get; } = Of(CpuidTable.First(Nowhere));

    public static int CpuidFound { get; } = Of(&Nowhere->Translated.Cpuid.Found);

    /// <summary>What the answers depend on: as it is, and as it was.</summary>
    public static (int Now, int Then)[] CpuidContext { get; } =
    [
        (Of(&Nowhere->Cr4), Of(&Nowhere->Translated.Cpuid.Cr4)),
        (Of(&Nowhere->Xcr0), Of(&Nowhere->Translated.Cpuid.Xcr0)),
        (Of(&Nowhere->Xss), Of(&Nowhere->Translated.Cpuid.Xss)),
    ];
}
