using Iced.Intel;

namespace Ringfence.Cpu.Interpreter;

/// <summary>Makes translators for processors.</summary>
public interface ITranslatorFactory
{
    /// <summary>Bytes that the translator wants behind the processor's state, at <see cref="Processor.StateBytes"/> from its start.</summary>
    nuint StateBytes { get; }

    IBlockTranslator Create(Processor processor);
}

/// <summary>
/// Makes host code of blocks that run often. Each block that may be translated begins with an op that counts (<see cref="Handlers.HotBlock"/>) and
/// becomes the way into the translation. Whatever host code cannot do, it leaves to the block's ops: it goes back to the one whose turn it is.
/// All members are for the processor's own thread.
/// </summary>
public unsafe interface IBlockTranslator : IDisposable
{
    /// <summary>How often a block is run before it is worth translating.</summary>
    int Threshold { get; }

    /// <summary>Whether code of a mode (<see cref="State.CodeMode"/>) is translated at all.</summary>
    bool Accepts(uint mode);

    /// <summary>Before the block at a physical address is decoded: if its translation is to be had without that, makes <paramref name="op"/> the way into it.</summary>
    /// <param name="bytes">How long the block is.</param>
    bool TryLead(Op* op, ulong physical, out int bytes);

    /// <summary>Translates the block that begins with <paramref name="hot"/>, if it can be. RIP is the block's start.</summary>
    void Translate(Op* hot);

    /// <summary>Gives <paramref name="op"/>, whose memory operand is set, a handler for an instruction that only the host can execute.</summary>
    /// <param name="rest">The op behind it, which is the handler's to fill but for its place in the block.</param>
    void PassOn(in Instruction instruction, Op* op, Op* rest);

    /// <summary>What was translated of a page is worth nothing any more. True if there was any: then all blocks of the page are to be decoded anew.</summary>
    bool Drop(ulong physicalPage);

    /// <summary>All blocks are being forgotten. None is running.</summary>
    void Flush();

    /// <summary>Whether what is forgotten need not be translated again when it is run again.</summary>
    bool Remembers { get; }

    /// <summary>After <see cref="Flush"/>: gives the host back the memory that translations took.</summary>
    void GiveBack();

    /// <summary>The processor is about to sleep: what can wait for that is done now.</summary>
    void Rest();

    /// <summary>Some translation of a linear address, or a right, is not what it was.</summary>
    void TranslationsChanged();
}
