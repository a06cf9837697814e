#include "common/data/sentencepiece_shim.h"

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

struct SentencePieces {
    sentencepiece::SentencePieceProcessor processor;
    std::vector<int> ids;
    std::string text;
};

extern "C" SentencePieces *sentence_pieces_new(const char *model, size_t bytes, char *why, size_t why_size)
{
    try {
        auto pieces = std::make_unique<SentencePieces>();
        const auto status = pieces->processor.LoadFromSerializedProto({model, bytes});
        if (status.ok())
            return pieces.release();
        std::snprintf(why, why_size, "%s", status.ToString().c_str());
    } catch (const std::exception &e) {
        std::snprintf(why, why_size, "%s", e.what());
    }
    return nullptr;
}

extern "C" void sentence_pieces_free(SentencePieces *pieces)
{
    delete pieces;
}

extern "C" int sentence_pieces_count(const SentencePieces *pieces)
{
    return pieces->processor.GetPieceSize();
}

extern "C" const char *sentence_pieces_text(const SentencePieces *pieces, int id, size_t *size)
{
    const std::string &text = pieces->processor.IdToPiece(id);
    *size = text.size();
    return text.data();
}

extern "C" int64_t sentence_pieces_encode(SentencePieces *pieces, const char *text, size_t bytes, const int **ids)
{
    try {
        if (!pieces->processor.Encode({text, bytes}, &pieces->ids).ok())
            return -1;
    } catch (const std::exception &) {
        return -1;
    }
    *ids = pieces->ids.data();
    return static_cast<int64_t>(pieces->ids.size());
}

extern "C" int64_t sentence_pieces_decode(SentencePieces *pieces, const int *ids, size_t count, const char **text)
{
    try {
        if (!pieces->processor.Decode(std::vector<int>(ids, ids + count), &pieces->text).ok())
            return -1;
    } catch (const std::exception &) {
        return -1;
    }
    *text = pieces->text.data();
    return static_cast<int64_t>(pieces->text.size());
}
