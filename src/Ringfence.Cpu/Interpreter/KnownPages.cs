namespace Ringfence.Cpu.Interpreter;

/// <summary>What a processor's cache of blocks knows of each page of RAM. There is room only for pages near which it knows something: a guest may have much memory, and touch little.</summary>
internal sealed class KnownPages(int pages)
{
    private const int Bits = 8;

    private readonly Page[]?[] _groups = new Page[]?[(pages + (1 << Bits) - 1) >> Bits];

    public ref Page this[int index] => ref (_groups[index >> Bits] ??= new Page[1 << Bits])[index & ((1 << Bits) - 1)];

    internal struct Page
    {
        /// <summary>The blocks that came of it.</summary>
        public CodePage? Code;
        /// <summary>The linear address at which TLB entries let it be written without notice, as <see cref="BlockCache"/> has it.</summary>
        public ulong Writable;
    }
}
