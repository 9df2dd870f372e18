// Reader of taafs.json: as much of JSON as that file uses.
// Part of taafs-plugins' LAMMPS plugin, under the GNU General Public License version 2 (LICENSE in this folder).

#include "metadata.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace taafs {
namespace {

struct Value {
  std::string text; // of a string or a number
  std::vector<Value> items;
  std::map<std::string, Value> fields;
};

class Reader {
 public:
  explicit Reader(const std::string &text) : text_(text) {}

  Value read() {
    Value value = any();
    skip();
    if (at_ != text_.size()) wrong("text after the end");
    return value;
  }

 private:
  const std::string &text_;
  size_t at_ = 0;

  [[noreturn]] static void wrong(const std::string &what) { throw std::invalid_argument(what); }

  void skip() {
    while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos) ++at_;
  }

  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void need(char c) {
    if (!take(c)) wrong(std::string("no ") + c);
  }

  Value any() {
    skip();
    if (at_ >= text_.size()) wrong("it ends too early");
    Value value;
    if (take('{')) {
      if (take('}')) return value;
      do {
        const std::string key = string();
        need(':');
        value.fields[key] = any();
      } while (take(','));
      need('}');
    } else if (take('[')) {
      if (take(']')) return value;
      do value.items.push_back(any());
      while (take(','));
      need(']');
    } else if (text_[at_] == '"') {
      value.text = string();
    } else {
      while (at_ < text_.size() && std::string(",]} \t\r\n").find(text_[at_]) == std::string::npos) value.text += text_[at_++];
      if (value.text.empty()) wrong("a value is missing");
    }
    return value;
  }

  std::string string() {
    need('"');
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        const char c = text_[++at_];
        if (c == 'u') { // not in any field that is used here
          result += '?';
          at_ += 4;
        } else {
          result += c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
      } else {
        result += text_[at_];
      }
      ++at_;
    }
    need('"');
    return result;
  }
};

const Value &field(const Value &value, const std::string &name) {
  const auto found = value.fields.find(name);
  if (found == value.fields.end()) throw std::invalid_argument("no " + name);
  return found->second;
}

double number(const Value &value) {
  char *end = nullptr;
  const double result = std::strtod(value.text.c_str(), &end);
  if (value.text.empty() || *end) throw std::invalid_argument("'" + value.text + "' is no number");
  return result;
}

} // namespace

bool Metadata::allows(const std::string &mode) const { return std::find(modes.begin(), modes.end(), mode) != modes.end(); }

bool Metadata::knows(int atomic_number) const {
  return std::find(elements.begin(), elements.end(), atomic_number) != elements.end();
}

Metadata parse_metadata(const std::string &text) {
  const Value root = Reader(text).read();
  if (number(field(root, "format")) > FORMAT) throw std::invalid_argument("newer");
  Metadata result;
  result.host = field(root, "host").text;
  result.energy_unit = field(root, "energy_unit").text;
  result.dtype = field(root, "dtype").text;
  result.cutoff = number(field(root, "cutoff"));
  if (root.fields.count("angle_cutoff")) result.angle_cutoff = number(field(root, "angle_cutoff"));
  result.hops = static_cast<int>(number(field(root, "hops")));
  for (const Value &mode : field(root, "modes").items) result.modes.push_back(mode.text);
  for (const Value &spec : field(root, "spec").items) result.spec.push_back(spec.text);
  for (const Value &element : field(root, "elements").items) result.elements.push_back(static_cast<int>(number(element)));
  for (const auto &[name, version] : field(root, "versions").fields) result.versions[name] = version.text;
  if (result.cutoff <= 0 || result.hops < 1 || result.angle_cutoff < 0) throw std::invalid_argument("cutoff or hops is out of range");
  return result;
}

} // namespace taafs
